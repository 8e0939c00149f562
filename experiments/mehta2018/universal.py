"""Section 4 of Mehta et al. 2018, which leaves it open: may the filters that are active on most images go too?

"Pruning them can have a significant impact on the accuracy. The accuracy can presumably be recouped after fine-tuning."
No number is given, so these are ours: from each layer of the paper's default network goes the fifth of the live filters
that is active on most training images (where several are on all of them, on most positions), and what is left is
trained on for a tenth of the training, at its last learning rate, as it was trained. The same with as many filters
chosen at random is the control.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from experiments.claims import NotRun, Verdict, more, several
from experiments.entries import Entry
from experiments.findings import Findings, read_rows, write_rows
from experiments.measured import Measured
from experiments.mehta2019 import BASE
from experiments.rows import selectivities
from experiments.scales import Scale, trainings
from experiments.studies import place
from experiments.tables import said, table
from jaxsparse import data, export, pruning
from jaxsparse.config import Run
from jaxsparse.grid import Cell
from jaxsparse.losses import evaluate
from jaxsparse.report import table as style

SHARE = 0.2
"""Of the live filters of each layer, rounded."""
TUNING = 0.1
"""Of the epochs of the training."""
HARM = 1.0
"""Points by which the error has to rise at first, for the filters to have mattered."""
RECOUPED = 1.0
"""Points above the error at the start within which fine-tuning has to bring it."""
KINDS = ("universal", "random")
COLUMNS = ("filters", "seed", "pruned", "error", "error_pruned", "error_tuned")


FILE = "universal-filters.parquet"
FINDINGS = Findings("universal-filters", COLUMNS, lambda root: read_rows(root / FILE))


def chosen(live: np.ndarray, scores: Sequence[np.ndarray], share: float = SHARE) -> np.ndarray:
    """Which units of a layer go: the share of the live ones with the highest scores, the first score first."""
    order = np.lexsort([-score for score in reversed(scores)])
    going = [unit for unit in order if live[unit]][: round(share * int(live.sum()))]
    return np.isin(np.arange(len(live)), going)


def _tuning(cell: Cell) -> pruning.FineTuning:
    run: Run = cell.run
    return pruning.FineTuning(
        run.optimizer,
        float(cell.hyper.learning_rate) * run.factor ** len(run.milestones),
        run.regularizer,
        float(cell.hyper.strength),
        epochs=max(1, round(TUNING * run.epochs)),
        constants={name: float(value) for name, value in cell.hyper.constants.items()},
    )


def _without(cell: Cell, folder: Path, kind: str) -> dict[str, Any]:
    """The row of a trained network whose universal filters, or as many at random, are removed."""
    model, dataset = export.load(folder), data.load(cell.run.data, cell.run.pixels)
    last = read_rows(folder / "history.parquet")[-1]
    gammas = np.split(np.asarray(last["gamma"]), np.cumsum(last["layer_units"])[:-1])
    seen, random = selectivities(folder), np.random.default_rng(cell.seed)
    dead: dict[str, np.ndarray] = {}
    for name, gamma, *scores in zip(last["layers"], gammas, seen["universality"], seen["active"], strict=True):
        drawn = [random.random(len(gamma))]
        dead[name] = chosen(np.abs(gamma) >= cell.run.thresholds.scale, scores if kind == "universal" else drawn)

    def method(params: Any, amount: Any) -> Any:
        del amount
        return pruning.units(params, dead)

    def error(network: nnx.Module) -> float:
        graph, state = nnx.split(network)
        compiled = jax.jit(lambda state, given: evaluate(nnx.merge(graph, state), given, given.test).error)
        return float(compiled(state, dataset))

    key = jax.random.fold_in(jax.random.key(cell.seed), 3)
    tuned, _ = pruning.fine_tune(model, cell.run, dataset, key, method, ((0, SHARE),), _tuning(cell))
    params = nnx.as_pure(nnx.state(model, nnx.Param))
    nnx.update(model, pruning.apply(params, method(params, SHARE)))
    return {
        "filters": kind,
        "seed": cell.seed,
        "pruned": sum(int(mask.sum()) for mask in dead.values()),
        "error": last["test_error"],
        "error_pruned": error(model),
        "error_tuned": error(tuned),
    }


def _follow(scale: Scale, root: Path) -> None:
    if not (root / FILE).exists():
        write_rows(
            root / FILE, [_without(cell, root / place(cell), kind) for kind in KINDS for cell in scale.cells(BASE)]
        )


def _columns(measured: Measured, kind: str) -> Mapping[str, np.ndarray]:
    found = [row for row in measured.findings.get(FINDINGS.name, ()) if row["filters"] == kind]
    return {name: np.asarray([row[name] for row in found], float) for name in COLUMNS[1:]}


def _show(measured: Measured, root: Path) -> None:
    del root
    names = {
        "pruned": "filters pruned",
        "error": "error (%)",
        "error_pruned": "once pruned",
        "error_tuned": "fine-tuned",
    }
    lines = [[kind, *(said(_columns(measured, kind)[name]) for name in names)] for kind in KINDS]
    heading = f"universal-filters: Without the most universal filters ({measured.scale.name} scale)"
    style.console().print(table(heading, ["filters", *names.values()], lines))


ENTRY = Entry(
    "universal-filters",
    "Without the most universal filters, then fine-tuned (section 4)",
    _show,
    trainings([BASE]),
    _follow,
    (FINDINGS,),
)


def rule(measured: Measured) -> Verdict:
    """Removing universal filters harms, and fine-tuning makes up for it."""
    found, control = (_columns(measured, kind) for kind in KINDS)
    if len(found["seed"]) < max(1, measured.scale.seeds(BASE)):
        raise NotRun(ENTRY.name)
    harmed = more(found["error_pruned"], found["error"], least=HARM)
    recouped = bool(np.mean(found["error_tuned"]) - np.mean(found["error"]) <= RECOUPED)
    parts = [
        ("error", found["error"]),
        ("without the most universal", found["error_pruned"]),
        ("fine-tuned", found["error_tuned"]),
        ("without as many at random", control["error_pruned"]),
        ("fine-tuned", control["error_tuned"]),
    ]
    return Verdict(harmed and recouped, several(parts))
