"""`jaxsparse decay`: one weight, hardly any gradient: how fast does each optimizer with each regularizer kill it?

    plan = Plan(optimizers=("adam", "sgd"), regularizers=("l2", "wd"))      # checked as a whole when made
    found = follow(plan)                                                    # Arrow tables of curves and outcomes
    write(plan, folder)                                                     # the same as a folder, with figures

A folder holds `decay.json` (plan and versions), `decay-curves.parquet` (weights at chosen steps),
`decay-outcomes.parquet` (steps to each threshold, level and amplitude at the end), the same two of an experiment of
Yaguchi et al. as `zero-gradient-*.parquet`, and `figures/`. All is computed in float64: the squares of an optimizer's
second moment leave float32 long before a weight is at 1e-12.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import tyro

from jaxsparse import optimizers, records, regularizers
from jaxsparse.config import InvalidInput, require, require_choice
from jaxsparse.dynamics import outcome, protocols
from jaxsparse.grid.declaration import PAPER_CONSTANTS, PAPER_LEARNING_RATES
from jaxsparse.report import decay_table, table

THRESHOLDS = (1e-1, 1e-3, 1e-6, 1e-12)
"""Magnitudes below which the first step is told."""
STEPS = 100_000
"""Where nothing else is said."""
RANDOM_SEEDS = 3
"""Where nothing else is said, for a protocol that draws random numbers; others have one."""
REGULARIZERS = tuple(name for name in regularizers.NAMES if name != "group-lasso")
"""Those that act on a single weight."""
COLUMNS = ("optimizer", "regularizer", "strength", "convention", "seed", "step", "value")
"""Of the curves."""


@dataclass(frozen=True)
class Plan:
    """What is simulated: the product of optimizers, regularizers, strengths and seeds under one protocol.

    Raises:
      InvalidInput: naming the field and the allowed values.
    """

    optimizers: tuple[str, ...] = optimizers.NAMES
    regularizers: tuple[str, ...] = ("l2", "wd", "wd-lr")
    """none, l2 (coupled), wd (decoupled, follows the schedule), wd-lr (AdamW's), bn-l1"""
    strengths: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    """of every regularizer but none"""
    protocol: str = "low-gradient"
    """the loss gradient: low-gradient, low-gradient-variance, zero-gradient, sparse-gradient, or a .npy or .csv file"""
    init: float | None = None
    """the weight at the start [low-gradient, sparse-gradient and files: 1, zero-gradient: 0.2]"""
    steps: int | None = None
    """updates [100000, or as many as the file has]"""
    seeds: int | None = None
    """how many, from 0; for a file, seed i takes column i [3 for random gradients, else 1]"""
    convention: str = "torch"
    """whose formulas and defaults the update rules follow: torch, keras, optax or paper"""
    learning_rate: float | None = None
    """of every optimizer [the paper's for each]"""

    def __post_init__(self) -> None:
        source = protocols.protocol(self.protocol)
        for flag, allowed in (("optimizers", optimizers.NAMES), ("regularizers", REGULARIZERS)):
            names = getattr(self, flag)
            require(len(names) > 0, flag, names, f"at least one of {' '.join(allowed)}")
            for name in names:
                require_choice(flag, name, allowed)
        require_choice("convention", self.convention, optimizers.CONVENTIONS)
        regularizers.require_strengths(self.strengths, self.regularizers)
        for flag in ("optimizers", "regularizers", "strengths"):
            values = getattr(self, flag)
            require(len(set(values)) == len(values), flag, values, "without repetition")
        require(self.init is None or math.isfinite(self.init), "init", self.init, "a finite number")
        most = source.steps if isinstance(source, protocols.Trace) else 2**31 - 2
        require(self.steps is None or 1 <= self.steps <= most, "steps", self.steps, f"a whole number from 1 to {most}")
        require(self.seeds is None or self.seeds >= 1, "seeds", self.seeds, "a whole number >= 1")
        rate = self.learning_rate
        fine = rate is None or (math.isfinite(rate) and rate > 0)
        require(fine, "learning_rate", rate, "a finite number > 0")

    def complete(self) -> Plan:
        """The same with what was not given filled in, but the learning rate, which differs between optimizers."""
        source = protocols.protocol(self.protocol)
        traced = isinstance(source, protocols.Trace)
        return replace(
            self,
            init=source.initial if self.init is None else self.init,
            steps=self.steps or (min(STEPS, source.steps) if traced else STEPS),
            seeds=self.seeds or (RANDOM_SEEDS if source.is_random else 1),
        )

    def rule(self, optimizer: str, regularizer: str, strength: Any) -> optax.GradientTransformation:
        """The update rule: the papers' learning rate and, in the `torch` convention, the papers' constants."""
        rate = PAPER_LEARNING_RATES[optimizer] if self.learning_rate is None else self.learning_rate
        constants: dict[str, Any] = dict(PAPER_CONSTANTS.get(optimizer, {})) if self.convention == "torch" else {}
        penalty = regularizers.regularizer(regularizer, strength)
        return optimizers.optimizer(optimizer, rate, regularizer=penalty, convention=self.convention, **constants)


PROOF = Plan(regularizers=("l2",), strengths=(5e-4,), protocol="zero-gradient", steps=4000)
"""Yaguchi et al. 2018, Theorem III.2, at the strength of our choice: the paper's is lost."""


class Found(NamedTuple):
    """What came out, as Arrow tables; the strength of the regularizer `none` is 0."""

    curves: pa.Table
    """the columns `COLUMNS`: the weight at `marks` of every curve"""
    outcomes: pa.Table
    """a row per curve: `steps_to_THRESHOLD` (null if never), `final`, `level`, `amplitude`, `oscillates`"""


def marks(steps: int) -> np.ndarray:
    """The steps that are kept: all up to 1000, else about 1000 that look dense on a linear and a logarithmic axis."""
    if steps <= 1000:
        return np.arange(steps + 1)
    return np.unique(np.round(np.concatenate([np.linspace(0, steps, 501), np.geomspace(1, steps, 600)])).astype(int))


def _simulated(plan: Plan, optimizer: str, regularizer: str) -> Found:
    """Every curve of an optimizer with a regularizer, of a complete plan; strengths and seeds are one array `[n]`."""
    assert plan.steps is not None
    assert plan.seeds is not None
    strengths = [0.0] if regularizer == "none" else list(plan.strengths)
    strength, seed = np.repeat(strengths, plan.seeds), np.tile(np.arange(plan.seeds), len(strengths))
    draw, kept = protocols.protocol(plan.protocol).gradients(plan.seeds), marks(plan.steps)
    with jax.enable_x64(True):  # in this thread
        weights: dict[str, Any] = {
            "tx": lambda strength: plan.rule(optimizer, regularizer, strength),
            "init": np.full(len(seed), plan.init, float),
            "gradients": lambda key, step: draw(key, step)[seed],  # the same for every optimizer and strength
            "settings": jnp.asarray(strength, float),
            "steps": plan.steps,
            "key": jax.random.key(0),
        }
        found = outcome(**weights, thresholds=THRESHOLDS, parts=kept[1:])
        tenths = found.joined(np.unique(np.searchsorted(kept[1:], np.arange(10) * plan.steps / 10, "right")))
        columns = {name: np.asarray(getattr(tenths, name)) for name in ("final", "level", "amplitude", "oscillates")}
        path, first_below = np.concatenate([weights["init"][None], found.last]), np.asarray(found.first_below)

    def table(repeats: int, columns: dict[str, Any]) -> pa.Table:
        names = {"optimizer": optimizer, "regularizer": regularizer, "convention": plan.convention}
        constant = {name: [value] * (repeats * len(seed)) for name, value in names.items()}
        numbers = {"strength": np.repeat(strength, repeats), "seed": np.repeat(seed, repeats)}
        return pa.table({**constant, **numbers, **columns})

    times = {
        f"steps_to_{threshold:g}": pa.array(first, mask=first < 0)
        for threshold, first in zip(THRESHOLDS, first_below, strict=True)
    }
    curves = table(len(kept), {"step": np.tile(kept, len(seed)), "value": path.T.reshape(-1)})
    return Found(curves.select(COLUMNS), table(1, {**times, **columns}))


def follow(plan: Plan) -> Found:
    """Simulates a plan; two optimizers at a time, as compiling takes most of the time."""
    plan = plan.complete()
    pairs = itertools.product(plan.optimizers, plan.regularizers)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda pair: _simulated(plan, *pair), pairs))
    return Found(pa.concat_tables([one.curves for one in found]), pa.concat_tables([one.outcomes for one in found]))


def _described(plan: Plan) -> dict[str, Any]:
    """What decides the results, as it is in `decay.json`."""
    described = json.loads(json.dumps(asdict(plan.complete())))
    if plan.protocol not in protocols.NAMES:
        described["checksum"] = hashlib.sha256(Path(plan.protocol).read_bytes()).hexdigest()
    return described


def _declare(plan: Plan, folder: Path) -> None:
    """Puts the plan into the folder, or refuses a folder of another plan."""
    described, path = _described(plan), folder / "decay.json"
    if folder.exists() and not path.exists():
        empty = folder.is_dir() and not any(folder.iterdir())
        require(empty, "out", str(folder), "a new or empty folder, or one of the same settings")
    if path.exists():
        try:
            there: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["plan"]
        except (OSError, ValueError, KeyError, TypeError):
            raise InvalidInput(f"out must be a folder with a readable decay.json, got {str(folder)!r}") from None
        different = [name for name in {**described, **there} if described.get(name) != there.get(name)]
        if different:
            raise InvalidInput(
                f"out must be a new folder or one of the same settings, {str(folder)!r} differs in "
                + ", ".join(f"{name} ({there.get(name)})" for name in different)
            )
        return
    records.writable(folder)
    records.write_text(path, json.dumps({"plan": described, "versions": records.versions()}, indent=1))


def _kept(folder: Path, name: str, plan: Plan) -> Found:
    """The results in a folder; simulated and put there where they are missing."""
    paths = [folder / f"{name}-{kind}.parquet" for kind in Found._fields]
    if not all(path.exists() for path in paths):
        for path, table in zip(paths, follow(plan), strict=True):
            sink = pa.BufferOutputStream()
            pyarrow.parquet.write_table(table, sink, compression="zstd")
            records.write_bytes(path, sink.getvalue().to_pybytes())
    return Found(*(pyarrow.parquet.read_table(path) for path in paths))


def write(plan: Plan, folder: Path) -> Found:
    """Makes a folder with the records and figures of a plan and of Yaguchi's; one of the same plan is completed.

    Raises:
      InvalidInput: where the folder holds anything else, or can't be written to.
    """
    from jaxsparse.report import decay as pictures  # matplotlib, which other commands start without
    from jaxsparse.report import figures

    _declare(plan, folder)
    found, proof = _kept(folder, "decay", plan), _kept(folder, "zero-gradient", PROOF)
    records.writable(folder / "figures")
    for name, draw, curves in (
        ("decay", pictures.panels, found.curves),
        ("zero-gradient", pictures.straight, proof.curves),
    ):
        svg, png = (folder / "figures" / f"{name}.{suffix}" for suffix in ("svg", "png"))
        if not (svg.exists() and png.exists()):
            figure = draw(curves)
            records.write_text(svg, figures.svg(figure))
            records.write_bytes(png, figures.png(figure))
    return found


@dataclass(frozen=True)
class Decay:
    """Follow one weight under hardly any gradient: how fast does each optimizer with each regularizer kill it?

    Without any flag: seven optimizers x {L2, decoupled weight decay, AdamW's} x five strengths, after Mehta et al.
    2019, Figure 4. Shows a table and draws figures; the same command again shows them again.
    """

    plan: tyro.conf.OmitArgPrefixes[Plan] = field(default_factory=Plan)
    csv: bool = False
    """print the curves as CSV instead, and write nothing unless --out is given"""
    out: Path | None = None
    """folder of the results [runs/decay]"""


def command(flags: Decay) -> int:
    """The command's action; its exit status."""
    if flags.csv:
        curves = (follow(flags.plan) if flags.out is None else write(flags.plan, flags.out)).curves
        options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
        print(",".join(COLUMNS), flush=True)
        pyarrow.csv.write_csv(curves, sys.stdout.buffer, options)
        return 0
    out = flags.out or Path("runs/decay")
    found = write(flags.plan, out)
    console = table.console()
    console.print(decay_table.terminal(found.outcomes, THRESHOLDS))
    print(f"figures  {out / 'figures'}\ncurves   {out / 'decay-curves.parquet'}")
    return 0
