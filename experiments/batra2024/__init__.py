"""Batra, Das, Xu 2024: Exploring Large Convolutional Network Pruning; and what explicit pruning competes with here.

`python -m experiments batra2024 --scale embedded|paper`; what is trained and pruned: `trainings`.

    figure1 .. figure4         magnitude, filters, slimming and hybrid on the paper's small network
    wider                      the same on one with eight times the filters
    joint, joint-vgg-16, ..    all methods, random controls, network slimming and implicit sparsity on one network
    structured                 what the removal of whole filters saves
    controls                   the pruned architecture trained from scratch (Liu et al. 2019)
    implementation             lines of code that each method takes in this package

Cost. At embedded scale all entries took 19 minutes on two AMD EPYC cores with nothing else to do, trainings included;
half of it the VGGs.

Expected. The paper's figures are lost; where its text prints a number, the figures show it as a dotted line. Which of
its claims the embedded scale shows, `python -m experiments claims --paper batra2024` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments import prunings, removals
from experiments.batra2024 import pictures
from experiments.batra2024.implementation import LINES
from experiments.batra2024.pictures import Series
from experiments.batra2024.trainings import (
    COMPARED,
    COMPARISONS,
    CURVES,
    DEAD,
    DENSE,
    FILTERS,
    MECHANISM,
    PROTOCOLS,
    SEEDS,
    SHARES,
    Curve,
    cells_of,
    compared,
    controls,
    of,
    pruned,
    small,
)
from experiments.entries import Entry, save
from experiments.measured import Measured
from experiments.prunings import PRUNINGS, Pruning
from experiments.removals import REMOVALS
from experiments.scales import Scale
from experiments.tables import OURS, said, table
from jaxsparse.grid import Cell
from jaxsparse.report import table as style
from jaxsparse.report.figures import NEUTRAL
from jaxsparse.rules import INK


def _print(
    name: str, title: str, measured: Measured, header: Sequence[str], rows: Sequence[Sequence[str]], caption: str = OURS
) -> None:
    style.console().print(table(f"{name}: {title} ({measured.scale.name} scale)", header, rows, caption))


# --- the paper's own network ----------------------------------------------------------------------------------------


def of_curve(name: str, curve: Curve) -> Entry:
    """A figure of the paper."""

    def show(measured: Measured, root: Path) -> None:
        cells = small(measured.scale)
        published = Series("fine-tuned at 1e-6", cells, curve.method, curve.shares, "batra2024", "#D55E00", "s", "--")
        own = Series("fine-tuned as trained", cells, curve.method, curve.shares, "own", "#0072B2")
        columns = ("sparsity", "accuracy_before", "accuracy_at_once", "accuracy")
        figures = [*published.figures(measured, *columns), *own.figures(measured, "accuracy")]
        rows = [[f"{share:.3g}", *(said(one[k]) for one in figures)] for k, share in enumerate(curve.shares)]
        header = [curve.method, "pruned (%)", "accuracy before (%)", "at once", published.label, own.label]
        _print(name, curve.title, measured, header, rows)
        save(pictures.accuracy(measured, published, own, curve.printed), root, "batra2024", name, curve.title)

    def follow(scale: Scale, root: Path) -> None:
        wanted = [one for tuning in PROTOCOLS for one in pruned(small(scale), curve.method, curve.shares, tuning)]
        if curve.method == "magnitude":
            wanted += [one for method, share in MECHANISM for one in pruned(small(scale), method, [share], "batra2024")]
        prunings.make(wanted, root)

    return Entry(name, curve.title, show, small, follow, (PRUNINGS,))


def _wider() -> Entry:
    name, title = "wider", "Accuracy (%) of batranet and of wider ones after pruning and fine-tuning"

    def show(measured: Measured, root: Path) -> None:
        del root

        def cell(wider: int, *kind: Any) -> str:
            return said(prunings.values(measured, small(measured.scale, wider), *kind))

        pairs = [(wider, tuning) for wider in SEEDS for tuning in PROTOCOLS]
        rows = [
            [f"{method} {share:.3g}", *(cell(wider, method, share, tuning) for wider, tuning in pairs)]
            for method, shares in COMPARED.items()
            for share in shares
        ]
        _print(name, title, measured, ["pruned", *(f"{wider * FILTERS} filters, {t}" for wider, t in pairs)], rows)

    def follow(scale: Scale, root: Path) -> None:
        kinds = [(method, shares, tuning) for method, shares in COMPARED.items() for tuning in PROTOCOLS]
        prunings.make([one for wider in SEEDS for kind in kinds for one in pruned(small(scale, wider), *kind)], root)

    def cells(scale: Scale) -> list[Cell]:
        return [cell for wider in SEEDS for cell in small(scale, wider)]

    return Entry(name, title, show, cells, follow, (PRUNINGS,))


# --- networks that others prune -------------------------------------------------------------------------------------

LOOKS: Mapping[str, tuple[str, str, str, str]] = {
    "magnitude": ("magnitude", "#0072B2", "o", "-"),
    "hybrid": ("magnitude in each filter", "#56B4E9", "v", "-"),
    "random": ("random weights", NEUTRAL, "x", ":"),
    "filters": ("filters by L1 norm", "#D55E00", "s", "-"),
    "slimming": ("filters by gamma", "#E69F00", "D", "-"),
    "random-filters": ("random filters", NEUTRAL, "+", "--"),
}


def _dead_by_themselves(trained: Sequence[Sequence[Cell]]) -> list[Series]:
    """Of each strength of L2; one point each."""
    names = [f"dead by Adam with L2 {cells[0].hyper.strength:g}" for cells in trained]
    return [
        Series(name, cells, "implicit", (DEAD,), "none", INK, marker, "")
        for name, cells, marker in zip(names, trained, "^*p", strict=False)
    ]


def _lines(network: str, scale: Scale) -> list[Series]:
    """Of the joint figure; the last ones are the points of what is dead by itself."""
    methods, (dense, slimmed, *implicit) = COMPARISONS[network].methods, of(network, scale)
    return [
        *(Series(LOOKS[one][0], dense, one, shares, "own", *LOOKS[one][1:]) for one, shares in methods.items()),
        Series(
            "network slimming (L1 on gamma)",
            slimmed,
            "slimming",
            methods["slimming"],
            "own",
            "#009E73",
            "P",
        ),
        *_dead_by_themselves(implicit),
    ]


def _joint(network: str) -> Entry:
    name = "joint" if network == "BasicNet" else f"joint-{network.lower()}"
    title = f"Explicit and implicit sparsity of {network}"

    def show(measured: Measured, root: Path) -> None:
        lines, rows = _lines(network, measured.scale), []
        for one in lines:
            at_once, tuned = one.figures(measured, "accuracy_at_once", "accuracy")
            left, (convolutions,) = one.parameters_left(measured), one.figures(measured, "sparsity_convolutions")
            rows += [
                [
                    one.named(amount),
                    *map(said, (100 - left[k], convolutions[k], 100 - at_once[k], 100 - tuned[k])),
                ]
                for k, amount in enumerate(one.amounts)
            ]
        header = ["pruned", "parameters removed (%)", "convolutions pruned (%)", "error at once (%)", "fine-tuned (%)"]
        _print(name, title, measured, header, rows)
        save(pictures.tradeoff(measured, lines), root, "batra2024", name, title)

    def follow(scale: Scale, root: Path) -> None:
        prunings.make(compared(network, scale), root)

    def cells(scale: Scale) -> list[Cell]:
        return [cell for group in of(network, scale) for cell in group]

    return Entry(name, title, show, cells, follow, (PRUNINGS,))


def _structures(scale: Scale) -> list[Series]:
    dense, slimmed, *implicit = of(DENSE.network, scale)
    return [
        Series("filters by L1 norm", dense, "filters", SHARES, "own"),
        Series("filters by gamma", dense, "slimming", SHARES, "own"),
        Series("network slimming (L1 on gamma)", slimmed, "slimming", SHARES, "own"),
        *_dead_by_themselves(implicit),
    ]


def _structured() -> Entry:
    name, title = "structured", "BasicNet before and after the removal of filters; sizes and latencies are of seed 0"

    def show(measured: Measured, root: Path) -> None:
        del root
        rows = []
        for one in _structures(measured.scale):
            errors = 100 - one.figures(measured, "accuracy_before", "accuracy")
            for k, amount in enumerate(one.amounts):
                changes = removals.changes(measured, Pruning(one.cells[0], one.method, amount, one.tuning))
                rows.append([one.named(amount), *(said(error[k]) for error in errors), *changes])
        header = [
            "pruned",
            "error before (%)",
            "after (%)",
            "parameters",
            "multiplications",
            "ms, 1 image",
            "64 images",
        ]
        _print(name, title, measured, header, rows)

    def follow(scale: Scale, root: Path) -> None:
        wanted = [p for one in _structures(scale) for p in pruned(one.cells, one.method, one.amounts, one.tuning)]
        prunings.make(wanted, root)
        removals.make([one for one in wanted if one.cell.seed == 0], root)

    def cells(scale: Scale) -> list[Cell]:
        return [cell for one in _structures(scale) for cell in one.cells]

    return Entry(name, title, show, cells, follow, (PRUNINGS, REMOVALS))


def _controls() -> Entry:
    name, title = "controls", "Test error (%) of BasicNet pruned and fine-tuned, and of what is left from scratch"

    def show(measured: Measured, root: Path) -> None:
        del root
        dense, rows = cells_of(measured.scale, DENSE), []
        for share in SHARES:
            scratch = controls(measured.scale, share)
            tuned = [100 - prunings.values(measured, dense, one, share, "own") for one in ("filters", "random-filters")]
            errors = [
                np.asarray([run["test_error"] for run in measured.of(scratch.get(kind, []))])
                for kind in ("equal epochs", "equal compute")
            ]
            epochs = [str(cells[0].run.epochs) for cells in scratch.values()]
            rows.append(
                [f"{100 * share:g} % of each layer's filters", *map(said, (*tuned, *errors)), ", ".join(epochs)]
            )
        header = ["pruned", "by L1 norm", "at random", "scratch, equal epochs", "equal compute", "epochs"]
        _print(name, title, measured, header, rows)

    def follow(scale: Scale, root: Path) -> None:
        wanted = [pruned(cells_of(scale, DENSE), method, SHARES, "own") for method in ("filters", "random-filters")]
        prunings.make([one for each in wanted for one in each], root)

    def cells(scale: Scale) -> list[Cell]:
        scratch = [cells for share in SHARES for cells in controls(scale, share).values()]
        return [*cells_of(scale, DENSE), *(cell for cells in scratch for cell in cells)]

    return Entry(name, title, show, cells, follow, (PRUNINGS,))


def _implementation() -> Entry:
    name, title = "implementation", "Lines of code of each method"

    def show(measured: Measured, root: Path) -> None:
        del root
        rows = [[row["method"], str(int(row["lines"]))] for row in measured.findings[LINES.name]]
        _print(name, title, measured, ["method", "lines"], rows, "in this package, with all that it calls there")

    return Entry(name, title, show, findings=(LINES,))


_EVERY: tuple[Entry, ...] = (
    *(of_curve(name, curve) for name, curve in CURVES.items()),
    _wider(),
    *map(_joint, ("BasicNet", "VGG-16", "VGG-19")),
    _structured(),
    _controls(),
    _implementation(),
)
ENTRIES = {entry.name: entry for entry in _EVERY}
