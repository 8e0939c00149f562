"""`jaxsparse bench shrink`: what removing half of a network's units gives, in multiplications and in time.

The units are drawn at random and made dead (gamma 0, beta <= 0); which ones they are does not matter to the time. Both
networks are timed in turn, a few calls at a time.

`bench architectures` does the same with networks as their authors write them, and `bench shrink --against
torch-pruning` with one of those beside Torch-Pruning (Fang et al. 2023, *DepGraph: towards any structural pruning*).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsparse import data, models, sparsity
from jaxsparse.bench import arguments
from jaxsparse.bench.architectures import ARCHITECTURES
from jaxsparse.checks import require, require_choice
from jaxsparse.data import noise
from jaxsparse.grid import processor
from jaxsparse.shrinking import Report, dead_by_scale, masked
from jaxsparse.shrinking import shrink as shrunk
from jaxsparse.shrinking.costs import cost, stopwatch
from jaxsparse.trees import flatten

CALLS = 5
"""Of each network in a round."""
BOTH = ("resnet-18", "vgg-16")
"""Architectures that are written in PyTorch, too."""


def _half_dead(model: nnx.Module, only: str, rng: np.random.Generator) -> nnx.Module:
    """The model with every second unit, at random, of the layers below `only` dead."""
    layers = sparsity.layers(model, only)
    dead = {
        layer.name: np.isin(np.arange(layer.size), rng.permutation(layer.size)[: layer.size // 2]) for layer in layers
    }
    return masked(model, dead, {name: np.full(len(mask), -1.0) for name, mask in dead.items()})


def in_turn(stopwatches: Sequence[Callable[[], float]], rounds: int) -> list[float]:
    """Median milliseconds of each, timed a few calls at a time."""
    times: list[list[float]] = [[] for _ in stopwatches]
    for _ in range(rounds):
        for seconds, kept in zip(stopwatches, times, strict=True):
            seconds()  # another one has just had the caches
            kept += [1e3 * seconds() for _ in range(CALLS)]
    return [statistics.median(each) for each in times]


def shrink(model: str, width: float, image: str, batch: int, rounds: int = 7) -> dict[str, object]:
    """Removes half of a network's units and times it before and after.

    Args:
      model: name of the network.
      width: multiplies its own widths.
      image: HEIGHTxWIDTHxCHANNELS.
      batch: images in a call.
      rounds: of a few calls of each network, in turn; medians are given.

    Returns:
      Parameters, multiplications and milliseconds of a call before and after, and what was gained in each; `share`:
      the gain in time over that in multiplications.

    Raises:
      InvalidInput: naming the field and the allowed values.
    """
    arguments.check(rounds, None)
    require(batch >= 1, "batch", batch, "a whole number >= 1")
    description = data.describe(noise.PREFIX + image)
    network = models.build(
        model,
        shape=description.shape,
        classes=description.classes,
        widths=models.widths_of(model, width),
        rngs=nnx.Rngs(0),
    )
    network.eval()
    large = _half_dead(network, models.features_of(model), np.random.default_rng(0))
    one = jax.random.normal(jax.random.key(0), (1, *description.shape))
    small, _ = shrunk(large, one)
    costs = [cost(each, one, batches=()) for each in (large, small)]
    before, after = in_turn([stopwatch(each, one, batch) for each in (large, small)], rounds)
    macs = costs[0].macs / costs[1].macs
    return {
        "parameters": [each.parameters for each in costs],
        "macs": [each.macs for each in costs],
        "milliseconds": [before, after],
        "macs_gain": macs,
        "time_gain": before / after,
        "share": before / after / macs,
    }


def _shrunk(name: str, width: float) -> tuple[nnx.Module, nnx.Module, Report, jax.Array, float]:
    """An architecture half of whose units are dead, without them, the report, an input, and the largest difference of
    the outputs on others, over the largest output."""
    architecture = ARCHITECTURES[name]
    large = architecture.made(width)
    one = architecture.input(1)
    small, report = shrunk(large, one)
    x = architecture.input(8, seed=1)
    expected, found = (np.asarray(jax.jit(lambda x, model=model: model(x))(x)) for model in (large, small))
    return large, small, report, one, float(np.max(abs(expected - found)) / np.max(abs(expected)))


def of_architectures(
    names: Sequence[str] = (), width: float = 0.5, batch: int = 8, rounds: int = 7
) -> dict[str, dict[str, Any]]:
    """Removes the dead units of networks as their authors write them, half of those that each can lose.

    Args:
      names: of `bench.architectures`; all of them where empty.
      width: multiplies their own widths.
      batch: inputs in a call.
      rounds: see `shrink`.

    Returns:
      By name: `units` there are, `dead` and `removed` ones; `parameters`, `macs` for one input, and `milliseconds` of a
      call, before and after; `difference`, the largest one of the outputs over the largest output; the `processor`.

    Raises:
      InvalidInput: naming the field and the allowed values.
    """
    arguments.check(rounds, None)
    require(batch >= 1, "batch", batch, "a whole number >= 1")
    require(width > 0, "width", width, "a number > 0")
    for name in names:
        require_choice("names", name, tuple(ARCHITECTURES))
    found: dict[str, dict[str, Any]] = {}
    for name in names or ARCHITECTURES:
        large, small, report, one, difference = _shrunk(name, width)
        costs = [cost(each, one, batches=()) for each in (large, small)]
        hidden = {layer.name for layer in sparsity.wiring(large, one).hidden}
        layers = {path: layer for path, layer in report.layers.items() if path in hidden}
        found[name] = {
            "units": sum(layer.before for layer in layers.values()),
            "dead": sum(int(layer.dead.sum()) for layer in layers.values()),
            "removed": sum(layer.before - layer.after for layer in layers.values()),
            "parameters": [each.parameters for each in costs],
            "macs": [each.macs for each in costs],
            "milliseconds": in_turn([stopwatch(each, one, batch) for each in (large, small)], rounds),
            "difference": difference,
            "processor": processor.name(),
        }
    return found


def against_torch_pruning(model: str, width: float, batch: int, rounds: int = 7) -> dict[str, object]:
    """Removes the same dead channels from one network with this package and with Torch-Pruning, each in its framework.

    Args:
      model: `resnet-18` or `vgg-16`, of `bench.architectures`.
      width, batch, rounds: see `shrink`.

    Returns:
      By tool and before (`jax`, `torch`): `parameters`; `macs` of convolutions and dense layers for one image;
      `milliseconds` of a call; and, after, `difference`: the largest one to the outputs of the network with its dead
      units masked, over the largest output.

    Raises:
      InvalidInput: naming the field and the allowed values, or where an extra is missing.
    """
    arguments.check(rounds, "torch-pruning", "torch-pruning")
    require_choice("model", model, BOTH)
    require(batch >= 1, "batch", batch, "a whole number >= 1")
    from jaxsparse.bench import torch_shrink  # the extra

    large, small, _, one, difference = _shrunk(model, width)
    costs = [cost(each, one, batches=()) for each in (large, small)]
    dead = {name: np.asarray(mask) for name, mask in dead_by_scale(large, 1e-3, one).items()}
    arrays = {name: np.asarray(leaf) for name, leaf in flatten(nnx.state(large, nnx.Not(nnx.RngState))).items()}
    theirs = torch_shrink.network(model, arrays)
    counts = [torch_shrink.counts(theirs, ARCHITECTURES[model].shape)]
    x = np.asarray(ARCHITECTURES[model].input(8, seed=1))
    expected = torch_shrink.outputs(theirs, x)
    pruned = torch_shrink.pruned(theirs, dead, ARCHITECTURES[model].shape)
    counts.append(torch_shrink.counts(pruned, ARCHITECTURES[model].shape))
    own = np.asarray(jax.jit(lambda x: large(x))(jnp.asarray(x)))  # pyright: ignore[reportCallIssue]
    largest = np.max(abs(own))
    clocks = [stopwatch(each, one, batch) for each in (large, small)]
    clocks += [torch_shrink.stopwatch(each, x[:1], batch) for each in (theirs, pruned)]
    times = in_turn(clocks, rounds)
    return {
        "processor": processor.name(),
        "jax": {"parameters": costs[0].parameters, "macs": costs[0].macs, "milliseconds": times[0]},
        "jaxsparse": {
            "parameters": costs[1].parameters,
            "macs": costs[1].macs,
            "milliseconds": times[1],
            "difference": difference,
        },
        "torch": {**counts[0], "milliseconds": times[2], "difference": float(np.max(abs(expected - own)) / largest)},
        "torch-pruning": {
            **counts[1],
            "milliseconds": times[3],
            "difference": float(np.max(abs(torch_shrink.outputs(pruned, x) - expected)) / largest),
        },
    }
