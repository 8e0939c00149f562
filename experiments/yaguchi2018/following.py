"""What the entries of Yaguchi et al. 2018 compute beside their trainings, and keep in the folder of these.

reduced    Algorithm 1: networks without the units that are dead by norm, by `js.shrink`
filters    activation rate and norm of the filters that die
falls      when the theory of one weight says that a dying unit reaches the threshold, and when it does
weights    one weight without a loss gradient (section III)
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.findings import Findings, read_rows, write_rows
from experiments.studies import place
from experiments.yaguchi2018 import scalefree
from experiments.yaguchi2018.cells import CONSTANTS, FACTORS, L2, RATES
from jaxsparse import data, decay, dynamics, export, models, records, sparsity, theory
from jaxsparse.config import Run
from jaxsparse.grid import Cell
from jaxsparse.grid.recording import parameter_count
from jaxsparse.losses import evaluate
from jaxsparse.regularizers import CoupledL2
from jaxsparse.rules.sgd import sgd
from jaxsparse.shrinking import shrink
from jaxsparse.train import make_train, steps_per_epoch

REDUCED_FILE = "reduced.json"
FOLDER = "yaguchi2018"
"""Of what belongs to no single training."""

load = lru_cache(maxsize=2)(data.load)


def history(root: Path, cell: Cell, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Columns of a training's history, `[points]` or `[points, units]`."""
    read = records.epochs_of(root / place(cell), names).to_pydict()
    return {name: np.asarray(values) for name, values in read.items()}


# Reduced networks


def _alive(norms: np.ndarray, units: Sequence[int], threshold: float) -> tuple[int, ...]:
    return tuple(int((layer >= threshold).sum()) for layer in np.split(norms, np.cumsum(units)[:-1]))


def _parameters(run: Run, norms: np.ndarray, units: Sequence[int]) -> int:
    """Of the network built with the units that are not dead by norm."""
    return parameter_count(run, models.widths_alive(run, _alive(norms, units, run.thresholds.norm)))


def _reduced(root: Path, cell: Cell) -> dict[str, Any]:
    run, folder = cell.run, root / place(cell)
    past = history(root, cell, ("test_error", "norm", "layer_units"))
    best = int(past["test_error"].argmin())
    before = parameter_count(run, None)
    reduced, error = 0.0, float(past["test_error"][-1])
    if (past["norm"][-1] < run.thresholds.norm).any():
        model, dataset = export.load(folder), load(run.data, run.pixels)
        seen = sparsity.units(model, {}, models.features_of(run.model))
        dead = sparsity.judge(seen, run.thresholds).dead["norm"]
        smaller, report = shrink(model, data.preprocess(dataset, dataset.test.images[:8]), dead)
        reduced = 100 * (1 - report.parameters_after / report.parameters_before)
        error = float(evaluate(smaller, dataset, dataset.test).error)
    return {
        "place": place(cell),
        "reduced": reduced,
        "test_error_reduced": error,
        "best_test_error": float(past["test_error"][best]),
        "best_reduced": 100 * (1 - _parameters(run, past["norm"][best], past["layer_units"][0]) / before),
    }


def reduce(cells: Iterable[Cell], root: Path) -> None:
    """Reduces the networks of trainings, as far as that is not done."""
    for cell in cells:
        path = root / place(cell) / REDUCED_FILE
        if not path.exists() and records.describe(path.parent)["status"] == "done":
            records.write_text(path, json.dumps(_reduced(root, cell)))


def _read_reduced(root: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(root.glob(f"*/*/{REDUCED_FILE}"))]


REDUCED = Findings(
    "reduced", ("place", "reduced", "test_error_reduced", "best_test_error", "best_reduced"), _read_reduced
)
"""Parameters that are gone, in percent, and test errors: of the reduced network, and at the best measured epoch."""


# When units die


class Fall(NamedTuple):
    """How a unit of the hidden layer died, in steps of the optimizer."""

    regularize: str
    """what L2 acted on"""
    seed: int
    unit: int
    onset: int
    """last measurement before the death at which the norm was at least half of the median of the units that live on"""
    death: float
    """where the norm falls below the threshold for the first time, interpolated between measurements"""
    predicted: float
    """the same, if from the onset on each weight fell by itself under the regularizer alone; inf: later than `AHEAD`"""


AHEAD = 4000
"""Steps that are predicted."""
STARTS = np.geomspace(1e-3, 1.0, 60)
"""Weights from which paths are predicted; between them they are interpolated, smaller ones count as the smallest."""


@lru_cache(maxsize=8)
def _paths(learning_rate: float, strength: float, constants: tuple[tuple[str, float], ...]) -> np.ndarray:
    """|weight| after each step without a loss gradient, by the weight at the start: `[len(STARTS), AHEAD + 1]`."""
    rule = {"learning_rate": learning_rate, **dict(constants)}
    paths = [
        np.abs(theory.predict("adam", CoupledL2(strength), init=start, steps=AHEAD, **dict[str, Any](rule)))
        for start in STARTS
    ]
    return np.nan_to_num(np.asarray(paths))  # not predicted where it has died and oscillates


def predicted_norms(cell: Cell, weights: np.ndarray, rate: float) -> np.ndarray:
    """Norm of a vector `[n]` over the steps, each weight on its own without a loss gradient: `[AHEAD + 1]`."""
    paths = _paths(rate, float(cell.hyper.strength), tuple(sorted(cell.hyper.constants.items())))
    positions = np.interp(np.log(np.maximum(np.abs(weights), STARTS[0])), np.log(STARTS), np.arange(len(STARTS)))
    low = np.minimum(positions.astype(int), len(STARTS) - 2)
    share = (positions - low)[:, None]
    return np.sqrt((((1 - share) * paths[low] + share * paths[low + 1]) ** 2).sum(0))


def _kernels(cell: Cell) -> np.ndarray:
    """The hidden layer's kernel before the training and at every measurement, `[points + 1, inputs, units]`, by the
    same training once more."""

    def kernel(model: Any, dataset: Any = None) -> jax.Array:
        del dataset
        return model.hidden[0].linear.kernel[...]

    training, key = make_train(cell.run, kernel), jax.random.key(cell.seed)
    hyper = jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), cell.hyper)
    start, _ = jax.jit(training.start)(key)
    _, rows = jax.jit(training)(hyper, key, load(cell.run.data, cell.run.pixels))
    first = np.asarray(start["hidden"][0]["linear"]["kernel"])
    return np.concatenate([first[None], np.asarray(rows.measured)])


def rate_at(cell: Cell, epoch: int) -> float:
    """Learning rate of the epoch."""
    return float(cell.hyper.learning_rate) * cell.run.factor ** sum(epoch >= one for one in cell.run.milestones)


def falls_of(cell: Cell, kernels: np.ndarray) -> list[Fall]:
    """How the dying units of a training fell; `kernels`: `[points + 1, inputs, units]`, the start and all points."""
    threshold, norms = cell.run.thresholds.norm, np.sqrt((kernels**2).sum(1))
    each = cell.run.measure_every * steps_per_epoch(cell.run, data.describe(cell.run.data))
    crowd = np.median(norms[:, norms[-1] >= threshold], axis=1)
    found = []
    for unit in np.flatnonzero(norms[-1] < threshold):
        path = norms[:, unit]
        dead = int(np.argmax(path < threshold))
        onset = int(np.flatnonzero(path[:dead] >= crowd[:dead] / 2)[-1])
        above, below = np.log(np.maximum(path[[dead - 1, dead]], 1e-30) / threshold)
        ahead = predicted_norms(cell, kernels[onset, :, unit], rate_at(cell, onset * cell.run.measure_every))
        falls = each * onset + _first(ahead < threshold)
        found.append(
            Fall(
                cell.run.regularize,
                cell.seed,
                int(unit),
                each * onset,
                each * (dead - 1 + above / (above - below)),
                falls,
            )
        )
    return found


def fall(cells: Sequence[Cell], root: Path) -> None:
    """Finds how the units of trainings died, unless that is done."""
    path = root / FOLDER / "falls.parquet"
    if not path.exists():
        found = [one for cell in cells for one in falls_of(cell, _kernels(cell))]
        write_rows(path, [one._asdict() for one in found])


FALLS = Findings("falls", Fall._fields, lambda root: read_rows(root / FOLDER / "falls.parquet"))


# Filters of the first layer


class Filter(NamedTuple):
    """A filter of the first convolution that dies with Adam, beside the same one under momentum SGD."""

    regularize: str
    """what L2 acted on"""
    seed: int
    unit: int
    """-1, and nan for the rest, for a seed with which none dies"""
    adam_norm: float = math.nan
    """at the end"""
    adam_rate_start: float = math.nan
    """activation rate at the first measurement, in [0, 1]"""
    adam_rate: float = math.nan
    """at the end"""
    correlation: float = math.nan
    """of rate and norm over the measurements with Adam"""
    sgd_norm: float = math.nan
    sgd_rate: float = math.nan


def first_layer(root: Path, cell: Cell) -> dict[str, np.ndarray]:
    """Norms and activation rates of the first layer's units, `[points, units]`."""
    found = history(root, cell, ("norm", "rate", "layer_units"))
    units = int(found["layer_units"][0][0])
    return {name: found[name][:, :units] for name in ("norm", "rate")}


def dying(root: Path, cell: Cell) -> np.ndarray:
    """Numbers of the first layer's units that are dead by norm at the end."""
    return np.flatnonzero(first_layer(root, cell)["norm"][-1] < cell.run.thresholds.norm)


def smallest(root: Path, cell: Cell) -> np.ndarray:
    """Numbers of the eighth of the first layer's units with the smallest norms at the end."""
    norms = first_layer(root, cell)["norm"][-1]
    return np.argsort(norms)[: max(1, len(norms) // 8)]


def _filters_of(root: Path, adam: Cell, descent: Cell) -> list[Filter]:
    ours, theirs = first_layer(root, adam), first_layer(root, descent)

    def described(unit: int) -> Filter:
        norm, rate = ours["norm"][:, unit], ours["rate"][:, unit]
        together = float(np.corrcoef(norm, rate)[0, 1]) if norm.std() and rate.std() else 0.0
        ends = float(theirs["norm"][-1, unit]), float(theirs["rate"][-1, unit])
        return Filter(
            adam.run.regularize, adam.seed, unit, float(norm[-1]), float(rate[0]), float(rate[-1]), together, *ends
        )

    return [described(int(unit)) for unit in dying(root, adam)] or [Filter(adam.run.regularize, adam.seed, -1)]


def watch(adams: Sequence[Cell], descents: Sequence[Cell], root: Path) -> None:
    """Compares the first layers' filters of trainings with Adam and with momentum SGD, unless that is done."""
    path = root / FOLDER / "filters.parquet"
    if not path.exists():
        found = [one for pair in zip(adams, descents, strict=True) for one in _filters_of(root, *pair)]
        write_rows(path, [one._asdict() for one in found])


FILTERS = Findings("filters", Filter._fields, lambda root: read_rows(root / FOLDER / "filters.parquet"))


# One weight

INIT, STEPS = 0.2, 200_000
"""Section III-A: the start is printed."""
TOLERANCE = 1e-6


def descended(momentum: float, steps: int) -> np.ndarray:
    """The weight under SGD on MNIST's terms, with another momentum: `[steps + 1]`."""
    tx = sgd(RATES["sgd"], momentum=momentum, regularizer=CoupledL2(L2))
    with jax.enable_x64(True):
        init, none = np.full(1, INIT), np.zeros((steps, 1))
        return np.asarray(dynamics.simulate(tx, init, none))[:, 0]


@lru_cache(maxsize=8)
def fallen(b2: float, strength: float) -> scalefree.Path:
    """The weight under Adam on MNIST's terms, with another memory and strength."""
    constants = {**CONSTANTS["adam"], "b2": b2}
    return scalefree.adam(STEPS, init=INIT, learning_rate=RATES["adam"], strength=strength, **constants)


def _first(below: np.ndarray) -> float:
    found = np.flatnonzero(below)
    return float(found[0]) if len(found) else float("inf")


def _decay(path: np.ndarray, radius: float) -> dict[str, float]:
    """Of a path that is to shrink to `radius` of itself in a step in the long run: the share that a step takes, which
    keeps digits where the radius is nearly 1."""
    middle = len(path) // 2
    measured = -math.expm1(math.log(path[-1] / path[middle]) / (len(path) - 1 - middle))
    return {
        "share": measured,
        "predicted": 1 - radius,
        "steps": _first(np.abs(path) < TOLERANCE),
        "sign_changes": float((np.diff(np.sign(path)) != 0).sum()),
    }


def _adam(b2: float, strength: float) -> dict[str, float]:
    """Of Adam: how straight log(-log w) is before the first change of sign, how deep the weight dives, and where it
    ends."""
    path = fallen(b2, strength)
    lines = np.log(-path.log[: int(min(_first(path.sign <= 0), len(path.sign)))])
    last = slice(-STEPS // 10, None)
    return {
        "straight": float(np.corrcoef(np.arange(len(lines)), lines)[0, 1] ** 2),
        "steps": _first(path.log < math.log(TOLERANCE)),
        "sign_changes": float(path.sign_changes[last].sum()),
        "log10_deepest": float(path.log.min() / math.log(10)),
        "log10_level": float(path.log[last].max() / math.log(10)),
    }


def _weights() -> dict[str, dict[str, float]]:
    best = theory.best_momentum(RATES["sgd"], L2)

    def descent(momentum: float) -> dict[str, float]:
        radius = theory.spectral_radius(RATES["sgd"], L2, momentum)
        enough = int(1.5 * math.log(TOLERANCE / INIT) / math.log(radius))
        return _decay(descended(momentum, enough), radius)

    momenta = {"sgd": 0.0, "msgd 0.9": CONSTANTS["sgd"]["momentum"], "msgd best": best}
    pairs = itertools.product((0.99, CONSTANTS["adam"]["b2"]), (L2 / 10, L2, 10 * L2))
    adams = {f"adam {b2:g} {strength:g}": (b2, strength) for b2, strength in pairs}
    return {
        **{name: descent(momentum) for name, momentum in momenta.items()},
        **{name: _adam(*given) for name, given in adams.items()},
    }


def weigh(root: Path) -> None:
    """Simulates single weights, unless that is done."""
    path = root / FOLDER / "weights.parquet"
    if not path.exists():
        rows = [
            {"case": case, "quantity": quantity, "value": value}
            for case, found in _weights().items()
            for quantity, value in found.items()
        ]
        write_rows(path, rows)


def _slow() -> list[dict[str, Any]]:
    """What became of weights under a low gradient (`jaxsparse decay`), at the strengths of the trainings."""
    plans = [
        decay.Plan(
            optimizers=(optimizer,),
            regularizers=("l2", "wd-lr") if optimizer == "adam" else ("l2",),
            strengths=tuple(factor * L2 for factor in FACTORS),
            learning_rate=RATES[optimizer if optimizer in RATES else "adam"],
            constants=CONSTANTS[optimizer],
        )
        for optimizer in CONSTANTS
    ]
    return decay.follow(*plans).outcomes.select(SLOW_COLUMNS).to_pylist()


SLOW_COLUMNS = ("optimizer", "regularizer", "strength", "seed", "steps_to_0.001", "final", "amplitude")


def slow(root: Path) -> None:
    """Simulates weights under a low gradient, unless that is done."""
    path = root / FOLDER / "slow.parquet"
    if not path.exists():
        write_rows(path, _slow())


SLOW = Findings("slow-weights", SLOW_COLUMNS, lambda root: read_rows(root / FOLDER / "slow.parquet"))
"""As `decay-outcomes.parquet` of `jaxsparse decay` has them; AMSGrad at Adam's learning rate."""
WEIGHTS = Findings("weights", ("case", "quantity", "value"), lambda root: read_rows(root / FOLDER / "weights.parquet"))
