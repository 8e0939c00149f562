"""Yaguchi, Suzuki, Asano, Nitta, Sakata, Tanizawa 2018: Adam Induces Implicit Weight Sparsity in Rectifier Neural
Networks (ICMLA; arXiv:1812.08119).

Every table and figure as an entry: `python -m experiments yaguchi2018 table2 --scale embedded|paper`. Each comes twice,
with L2 on the weight vectors, as in the paper, and on every parameter.

What was lost of the paper and what is chosen in its place, and how large the embedded scale is: `yaguchi2018.cells`.
The rules of the claims: `yaguchi2018.claims`.

Cost. At embedded scale all trainings take about five hours of one core, those of MNIST two of them. At paper scale
MNIST is quick on an accelerator (a training is 93,700 steps of a small network), table 5 takes 24 trainings of a VGG-16
on CIFAR-10 for 400 epochs, and figure 7 another 39.

Expected. At paper scale what the paper prints, beside which every table shows its own figures. The embedded scale has
the paper's numbers but for data and network, and a sixth of the steps of its VGG; every table says how many.

Figures 1 and 2 are the entry `figure1`. The entry `theory` is new: when the theory of a single weight says that each
dying unit reaches the threshold. Figure 3 explains what a weight vector is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from experiments import papers
from experiments.entries import Entry, save
from experiments.findings import Findings
from experiments.measured import Measured
from experiments.rows import NORM_THRESHOLDS
from experiments.scales import Scale
from experiments.studies import place
from experiments.tables import OURS, said, table
from experiments.yaguchi2018 import cells as made
from experiments.yaguchi2018 import following, pictures
from experiments.yaguchi2018.cells import READINGS, Size, Study
from experiments.yaguchi2018.following import FALLS, FILTERS, REDUCED, SLOW, WEIGHTS
from jaxsparse.grid import Cell
from jaxsparse.report import table as style

Column = Callable[[Measured, str, Sequence[Cell]], str]
"""A cell's text, from the name of a setting and its trainings."""


def _of_study(study: Callable[[Size], Study]) -> Callable[[Scale], list[Cell]]:
    return lambda scale: [cell for size in _sizes(scale) for cells in study(size).values() for cell in cells]


def _sizes(scale: Scale) -> list[Size]:
    """Of a scale, one a reading."""
    return [made.of(scale, reading) for reading in READINGS]


def _values(measured: Measured, cells: Sequence[Cell], metric: str) -> np.ndarray:
    return np.asarray([run[metric] for run in measured.of(cells)], float)


def _accuracy(measured: Measured, cells: Sequence[Cell]) -> str:
    found = _values(measured, cells, "test_error")
    return said(100 - found) if len(found) else "-"


def _tabulated(
    name: str,
    title: str,
    study: Callable[[Size], Study],
    columns: dict[str, Column],
    reduced: bool = False,
) -> Entry:
    """An entry that is a table with a row for each setting and reading; `reduced`: of what `js.shrink` makes of the
    networks."""

    def show(measured: Measured, root: Path) -> None:
        del root
        lines, run = [], made.of(measured.scale).dense
        for size, on in zip(_sizes(measured.scale), READINGS.values(), strict=True):
            for setting, cells in study(size).items():
                run = cells[0].run
                acts = run.regularizer in ("l2", "wd-lr") and cells[0].regularizer != "none"
                if acts or size.regularize == "kernels":
                    found = (column(measured, setting, cells) for column in columns.values())
                    lines.append([setting, on if acts else "-", *found])
        caption = f"paper | ours, {OURS}\n{made.regime(run)}"
        heading = f"{name}: {title} ({measured.scale.name} scale)"
        style.console().print(table(heading, ["setting", "L2 on", *columns], lines, caption=caption))

    cells = _of_study(study)
    if not reduced:
        return Entry(name, title, show, cells, figures_only=True)
    return Entry(
        name,
        title,
        show,
        cells,
        follow=lambda scale, root: following.reduce(cells(scale), root),
        findings=(REDUCED,),
    )


PRINTED = {
    "Adam, ReLU (baseline)": ("Adam", "optimizer block: baseline"),
    "mSGD": ("mSGD", "optimizer block"),
    "Adagrad": ("Adagrad", "optimizer block"),
    "RMSprop": ("RMSprop", "optimizer block"),
    "tanh": ("Adam", "activation block col 2"),
    "ELU": ("Adam", "activation block col 3"),
    "leaky ReLU": ("Adam", "activation block col 4"),
    "He init.": ("Adam", "others block: He init."),
    "w/o BN": ("Adam", "others block: w/o BN"),
    "w/o reg.": ("Adam", "others block: w/o reg."),
}
"""Optimizer and setting in the table that is left of the paper's. The names of its columns 2 and 4 of activation
functions are lost: that they are tanh and leaky ReLU is a guess."""


def _printed(name: str, metric: str, **wanted: str) -> str:
    rows = [row for row in papers.rows(name) if row["metric"] == metric]
    found = [row["value"] for row in rows if all(row[key] == value for key, value in wanted.items())]
    return "-".join(found) or "-"


def _condition(metric: str, setting: str) -> str:
    if setting not in PRINTED:
        return "-"
    optimizer, block = PRINTED[setting]
    return _printed("yaguchi2018_t2", metric, optimizer=optimizer, setting=block)


def _hidden(layers: str) -> str:
    return f"fully connected, {layers}"


def _one_layer(width: str) -> str:
    return _hidden(f"1 hidden layer x {width}")


def _layers(depth: str) -> str:
    return _hidden("1 hidden layer x 1000" if depth == "1" else f"{depth} hidden layers x 1000")


def _left(measured: Measured, cells: Sequence[Cell]) -> str:
    """Units that are left in each layer, mean over seeds; with its deviation where there is one layer."""
    units, dead = (_values(measured, cells, name) for name in ("layer_units", "layer_dead_by_norm"))
    if not len(units):
        return "-"
    left = units * (1 - dead / 100)
    return said(left[:, 0]) if left.shape[1] == 1 else "-".join(f"{layer:.0f}" for layer in left.mean(0))


def _remaining(name: str, network: Callable[[str], str]) -> dict[str, Column]:
    """Columns of tables 3 and 4."""

    def paper(setting: str, metric: str) -> str:
        return _printed(name, metric, network=network(setting))

    return {
        "here": lambda m, s, cells: " ".join(map(str, cells[0].run.widths)),
        "accuracy (%)": lambda m, s, cells: f"{paper(s, 'val_accuracy')} | {_accuracy(m, cells)}",
        "units left": lambda m, s, cells: f"{paper(s, 'remaining_weight_vectors')} | {_left(m, cells)}",
    }


def _of_reduced(metric: str, sign: int = 1) -> Column:
    """Column of a figure of the reduced networks; `sign` -1: of an error, shown as accuracy."""

    def column(measured: Measured, setting: str, cells: Sequence[Cell]) -> str:
        del setting
        by_place = {row["place"]: row[metric] for row in measured.findings.get(REDUCED.name, ())}
        found = np.asarray([by_place[one] for one in map(place, cells) if one in by_place], float)
        return said(found if sign > 0 else 100 - found) if len(found) else "-"

    return column


def _beside(paper: Callable[[str], str], column: Column) -> Column:
    return lambda measured, setting, cells: f"{paper(setting)} | {column(measured, setting, cells)}"


VGG_PRINTED = {"mSGD": "mSGD", "AMSGrad": "AMSGRAD", "AdamW": "AdamW", "Adam": "Adam"}


def _vgg(metric: str) -> Callable[[str], str]:
    """What table 5 prints; its first row is quoted from elsewhere and left out."""

    def paper(setting: str) -> str:
        own = "our implementation" if setting == "mSGD" else "this paper"
        return _printed("yaguchi2018_t5", metric, optimizer=VGG_PRINTED[setting], method=own)

    return paper


REDUCED_COLUMNS: dict[str, Column] = {
    "accuracy (%)": lambda measured, _, cells: _accuracy(measured, cells),
    "once reduced (%)": _of_reduced("test_error_reduced", -1),
    "parameters gone (%)": _of_reduced("reduced"),
}


def _below(threshold: float) -> Column:
    number = NORM_THRESHOLDS.index(threshold)

    def column(measured: Measured, setting: str, cells: Sequence[Cell]) -> str:
        del setting
        found = _values(measured, cells, "norm_below")
        return said(found[:, number]) if len(found) else "-"

    return column


TABLES = [
    _tabulated(
        "table2",
        "Conditions for sparsity",
        made.conditions,
        {
            "accuracy (%)": lambda m, s, cells: f"{_condition('val_accuracy', s)} | {_accuracy(m, cells)}",
            "dead by norm (%)": lambda m, s, cells: (
                f"{_condition('sparsity', s)} | {said(_values(m, cells, 'sparsity_norm'))}"
            ),
        },
    ),
    _tabulated("table3", "Units of the hidden layer", made.widths, _remaining("yaguchi2018_t3", _one_layer)),
    _tabulated("table4", "Number of hidden layers", made.depths, _remaining("yaguchi2018_t4", _layers)),
    _tabulated(
        "table5",
        "VGG with dropout, at the epoch of its best accuracy",
        made.vggs,
        {
            "accuracy (%)": _beside(_vgg("max_val_accuracy"), _of_reduced("best_test_error", -1)),
            "parameters gone (%)": _beside(_vgg("params_reduced"), _of_reduced("best_reduced")),
        },
        reduced=True,
    ),
    _tabulated(
        "table6", "Beside group lasso (Wen et al. 2016), without BN", made.against_wen, REDUCED_COLUMNS, reduced=True
    ),
    _tabulated(
        "sensitivity",
        "Dead by norm (%) by strength and threshold",
        made.sensitivity,
        {
            "accuracy (%)": lambda measured, _, cells: _accuracy(measured, cells),
            **{f"< {threshold:g}": _below(threshold) for threshold in NORM_THRESHOLDS},
        },
    ),
]


def _drawn(
    name: str,
    title: str,
    draw: Callable[[Measured, Path, Size], Figure],
    cells: Callable[[Scale], Sequence[Cell]],
    follow: Callable[[Scale, Path], None] = lambda scale, root: None,
    findings: tuple[Findings, ...] = (),
) -> Entry:
    """An entry that is a figure for each reading: `NAME.png`, and `NAME-all.png` with L2 on every parameter."""

    def show(measured: Measured, root: Path) -> None:
        for size, on in zip(_sizes(measured.scale), READINGS.values(), strict=True):
            suffix = "" if size.regularize == "kernels" else f"-{size.regularize}"
            figure = draw(measured, root, size)
            save(figure, root, "yaguchi2018", f"{name}{suffix}", f"{title}; L2 on {on}")

    return Entry(name, title, show, cells, follow, findings)


def _single_weights() -> Entry:
    title = "One weight without a loss gradient: Adam oscillates, momentum SGD does not"

    def follow(scale: Scale, root: Path) -> None:
        del scale
        following.weigh(root)
        following.slow(root)

    def show(measured: Measured, root: Path) -> None:
        del measured
        save(pictures.one_weight(), root, "yaguchi2018", "figure4", title)

    return Entry("figure4", title, show, follow=follow, findings=(SLOW, WEIGHTS))


def _every_method(size: Size) -> Study:
    return {name: cells for method in made.METHODS for name, cells in made.traded(size, method).items()}


def _watched(size: Size) -> Study:
    settings = made.vggs(size)
    return {name: settings[name] for name in ("Adam", "mSGD")}


def _watch(scale: Scale, root: Path) -> None:
    pairs = [_watched(size) for size in _sizes(scale)]
    adams, descents = ([cell for pair in pairs for cell in pair[name]] for name in ("Adam", "mSGD"))
    following.watch(adams, descents, root)


FIGURES = [
    _drawn(
        "figure1",
        "Norms of weight vectors over training, Adam and momentum SGD (figures 1 and 2)",
        pictures.trajectories,
        _of_study(lambda size: {name: size.followed(name) for name in ("adam", "sgd")}),
    ),
    _single_weights(),
    _drawn("figure5", "Norms by the slope of leaky ReLU", pictures.by_slope, _of_study(made.slopes)),
    _drawn(
        "figure6",
        "Activation rate and norm of the first layer's dying filters",
        pictures.activation_rates,
        _of_study(_watched),
        _watch,
        (FILTERS,),
    ),
    _drawn(
        "theory",
        "When one-weight theory has dying units reach the threshold",
        pictures.theory_over_norms,
        _of_study(lambda size: {"adam": size.followed("adam")}),
        lambda scale, root: following.fall([cell for size in _sizes(scale) for cell in size.followed("adam")], root),
        (FALLS,),
    ),
    _drawn(
        "figure7",
        "Accuracy against reduction: Adam with L2, group lasso",
        pictures.tradeoff,
        _of_study(_every_method),
        lambda scale, root: following.reduce(_of_study(_every_method)(scale), root),
        (REDUCED,),
    ),
]

ENTRIES = {entry.name: entry for entry in [*TABLES, *FIGURES]}
