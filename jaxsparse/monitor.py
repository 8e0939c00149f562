"""Which units die in anybody's training loop: three lines in it, whatever the network, the optimizer and the data.

    with js.Monitor(model, x, every=200, out="runs/mine") as monitor:
        for step in range(10_000):
            ..                                  # one step of your own
            monitor(step, model)

What it finds goes to any logger as flat numbers, and into a folder that `jaxsparse report` draws, beside those of other
loops that have the same folder and another optimizer, regularizer, strength or seed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsparse import records, shrinking, sparsity
from jaxsparse.checks import require
from jaxsparse.config import Run
from jaxsparse.criteria import Thresholds
from jaxsparse.loggers import Log
from jaxsparse.sparsity import Sparsity
from jaxsparse.tracing import arrays_of
from jaxsparse.trees import Tree, flatten, size

PAUSE_SECONDS, SHARE = 10.0, 0.005
"""A record is written where the last one is older than this, and writing takes at most this share of the time."""
METRICS = ("train_loss", "test_loss", "test_error")
"""Of a loop's own numbers those that records have a column for: losses in nats, the error in percent."""


class Monitor:
    """Measures a network every now and then while it is trained.

    Args:
      model: an `nnx.Module` like the one that is trained, or a function `f(params, x)`; then calls get its params.
      x: inputs with a leading batch axis to look for activations on, as for `js.measure`; the more of the training set,
        the closer to what dead by activation means in the papers, and the longer a measurement takes.
      every: steps between two measurements.
      out: folder for records of all loops that are compared; nothing is written where not given.
      to: loggers, each called with a step and numbers by name; see `jaxsparse.loggers`.
      params: of a function.
      thresholds: of the criteria; the paper's where not given.
      only: path below which layers count; everything where empty.
      optimizer, regularizer, strength, seed, data: what this loop trains with, for the record and its tables.

    Attributes:
      history: what was measured, a `Sparsity` by step.

    Raises:
      InvalidInput: for what `js.measure` refuses, before the first step; for numbers out of range; where `out` can't
        be written to or has a record of the same name.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> from flax import nnx
      >>> model = js.models.MLP(2, shape=(3,), widths=(4,), rngs=nnx.Rngs(0))
      >>> log = lambda step, numbers: print(step, numbers["dead/scale"])
      >>> with js.Monitor(model, jnp.ones((5, 3)), every=100, to=[log]) as monitor:
      ...     for step in range(300):
      ...         model.hidden[0].norm.scale[1:3] *= 0.95  # in place of a step of training
      ...         _ = monitor(step, model)
      0 0.0
      100 0.0
      200 50.0
      >>> monitor.history[200].dead["scale"]["hidden/0"]
      array([False,  True,  True, False])
    """

    def __init__(
        self,
        model: nnx.Module | Callable[[Any, Any], Any],
        x: Any,
        *,
        every: int = 200,
        out: str | Path | None = None,
        to: Sequence[Log] = (),
        params: Tree = None,
        thresholds: Thresholds | None = None,
        only: str = "",
        optimizer: str = "own",
        regularizer: str = "none",
        strength: float = 0.0,
        seed: int = 0,
        data: str = "own",
    ):
        require(every >= 1, "every", every, "a whole number >= 1")
        require(math.isfinite(strength) and strength >= 0, "strength", strength, "a finite number >= 0")
        self._function = None if isinstance(model, nnx.Module) else model
        self._every, self._only, self._to = every, only, tuple(to)
        self._x = jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf, x)
        self._thresholds = thresholds or Thresholds()
        self._run = Run(
            data=data,
            model=getattr(model, "__name__", type(model).__name__),
            optimizer=optimizer,
            regularizer=regularizer,
            thresholds=self._thresholds,
        )
        told = f"-{strength:g}" if regularizer != "none" else ""
        self.name = f"{optimizer}-{regularizer}{told}-seed{seed}"
        self._settings = {
            "regularizer": regularizer,
            "strength": float(strength),
            "seed": seed,
            "learning_rate": math.nan,
            "constants": {},
            "data_verified": True,
            "monitored": True,
        }
        self.history: dict[int, Sparsity] = {}
        self._metrics: dict[int, Mapping[str, float]] = {}
        self._left: Callable[[Any], int] | None = None
        self._begun = self._written = time.monotonic()
        self._pause, self._closed = PAUSE_SECONDS, False
        self._last = self._measured(model if self._function is None else params)
        require(bool(self._last.units), "model", self._run.model, "a network with units between input and output")
        self._folder = None if out is None else Path(out).expanduser().absolute() / "cells"
        if self._folder is not None:
            records.writable(self._folder)
            there = self._folder / self.name
            free = not there.exists() or not records.is_finished(there)
            require(free, "out", str(there), "a folder without a finished record of this name")

    def _measured(self, model: Any) -> Sparsity:
        """The units of the network as it is."""
        what = (model, None) if self._function is None else (self._function, model)
        return sparsity.measure(what[0], self._x, params=what[1], thresholds=self._thresholds, only=self._only)

    def __call__(self, step: int, model: Any, **metrics: float) -> Sparsity | None:
        """Measures, if it is time.

        Args:
          step: steps done.
          model: the network, or the params of a function.
          metrics: the loop's own numbers, which loggers get too; `METRICS` go into the record.

        Returns:
          What was measured; None where it was not time.
        """
        if step % self._every or self._closed:
            return None
        found = self._measured(model)
        told = {name: float(value) for name, value in metrics.items()}
        numbers = {**told, **sparsity.numbers(found), **sparsity.changes(self._last, found)}
        self.history[int(step)], self._metrics[int(step)], self._last = found, told, found
        self._model = model
        for log in self._to:
            log(int(step), numbers)
        if time.monotonic() - self._written > self._pause:
            self._write("failed", f"not ended yet, or killed after step {step}")
        return found

    def close(self) -> None:
        """Writes the record down; what is measured afterwards is not."""
        if not self._closed and self.history:
            self._write("done", "")
        self._closed = True

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None and self.history:
            self._write("failed", f"{type(error).__name__}: {error}")
            self._closed = True
        self.close()

    def _write(self, status: str, message: str) -> None:
        if self._folder is None:
            return
        begun = time.monotonic()
        steps = list(self.history)
        history = {
            "epochs": steps,
            "steps": steps,
            **{name: [self._metrics[step].get(name, math.nan) for step in steps] for name in METRICS},
            "params": [size(arrays_of(self._trained)[0])] * len(steps),
            "params_alive": [self._alive(found) for found in self.history.values()],
            **sparsity.columns(list(self.history.values())),
        }
        weights = _weights(self._model) if self._function is None else {}
        seconds = begun - self._begun
        records.write(
            records.Record(self.name, self._run, self._settings, status, message, seconds, history, weights),
            self._folder,
        )
        self._written = time.monotonic()
        self._pause = max(PAUSE_SECONDS, (self._written - begun) / SHARE)

    @property
    def _trained(self) -> Tree:
        """The parameters as they were measured last."""
        return nnx.state(self._model, nnx.Param) if self._function is None else self._model

    def _alive(self, found: Sparsity) -> float:
        """Parameters without the units that are dead by scale (without a scale: by norm); nan for a function."""
        if self._function is not None:
            return math.nan
        if self._left is None:
            self._left = shrinking.parameters_left(self._model, self._x)
        return self._left(found.primary)


def _weights(model: nnx.Module) -> dict[str, np.ndarray]:
    state = nnx.state(model, nnx.Not(nnx.RngState))
    return {name: np.asarray(leaf) for name, leaf in flatten(state).items()}
