"""A printed table with our figures beside the paper's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich import box
from rich.table import Table

from experiments import papers
from experiments.competitors import competition, competitor_of
from experiments.entries import Entry
from experiments.measured import Measured
from experiments.papers import Printed, Setting
from experiments.prunings import PRUNINGS, make
from experiments.scales import Scale, trainings
from jaxsparse.grid import Cell
from jaxsparse.report import table as style

METRICS = {
    ("test_error", ""): "test_error",
    ("test_error", "pre-pruning"): "test_error",
    ("test_error", "post-pruning"): "test_error_silenced",
    ("val_top1_error", ""): "test_error",
    ("val_top1_error", "pre-pruning"): "test_error",
    ("val_top1_error", "post-pruning"): "test_error_silenced",
    ("val_top5_error", ""): "test_error_top5",
    ("val_top5_error", "pre-pruning"): "test_error_top5",
    ("val_top5_error", "post-pruning"): "test_error_top5_silenced",
    ("train_loss", ""): "train_loss",
    ("test_loss", ""): "test_loss",
    ("val_loss", ""): "test_loss",
    ("conv_params_pruned", ""): "conv_params_pruned",
}
"""Our column of a printed metric and phase; what is not here was not measured."""
CRITERIA = {"act<1e-12": "sparsity_activation", "gamma<1e-3": "sparsity_scale"}


def ours(measured: Measured, figure: Printed) -> np.ndarray:
    """Our values of a printed figure, one a seed; none where they were not measured."""
    setting, metric = figure.setting, figure.metric
    if figure.method != papers.OWN:
        competitor = competitor_of(figure)
        return np.asarray([]) if competitor is None else competitor.ours(measured, figure)
    if metric == "sparsity" and figure.layer.startswith("C"):
        layers = [run["layer_dead"] for run in measured.runs(setting)]
        number = int(figure.layer[1:]) - 1
        return np.asarray([layer[number] for layer in layers if number < len(layer)], float)
    if metric == "sparsity" and figure.criterion in CRITERIA:
        return measured.values(setting, CRITERIA[figure.criterion])
    if metric == "conv_features_pruned":
        return measured.values(setting, "dead_units" if figure.unit == "count" else "sparsity_scale")
    name = METRICS.get((metric, figure.phase))
    return measured.values(setting, name) if name else np.asarray([])


def said(values: np.ndarray) -> str:
    """Mean and sample deviation: `49.1 ± 1.3`; `-` for none."""
    if not len(values):
        return "-"
    mean, digits = np.mean(values), 1 if np.max(np.abs(values)) >= 1 else 2
    return f"{mean:.{digits}f}" + (f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else "")


def _column(figure: Printed) -> str:
    criterion = figure.criterion if figure.method == papers.OWN else "gamma<1e-3"  # what others prune stands beside it
    words = {
        "sparsity": {"act<1e-12": "dead by activation", "gamma<1e-3": "dead by scale"}.get(criterion, "dead"),
        "conv_params_pruned": "convolution weights pruned",
        "conv_features_pruned": "features pruned",
        "val_top1_error": "error",
        "val_top5_error": "top-5 error",
        "val_loss": "test loss",
        "test_error": "error",
    }
    layer = f" {figure.layer}" if figure.layer.startswith("C") else ""
    phase = {"post-pruning": " once pruned"}.get(figure.phase, "")
    unit = " (%)" if figure.unit == "%" else ""
    return words.get(figure.metric, figure.metric.replace("_", " ")) + layer + phase + unit


def _label(figure: Printed) -> str:
    """Of its row: a setting of the paper's own, or another paper's method."""
    setting = figure.setting
    return label(setting) if figure.method == papers.OWN else f"{setting.network}, {setting.dataset}, {figure.method}"


def label(setting: Setting) -> str:
    """A setting in a few words; the default network is not named."""
    parts = [
        *([setting.network] if setting.network != "BasicNet" else []),
        setting.dataset.removeprefix("ObjectNet3D renderings, 30 classes, "),
        f"{setting.optimizer} {setting.regularizer} {setting.strength:g}",
        f"batch {setting.batch}",
        *([setting.activation] if setting.activation != "ReLU" else []),
        *([setting.setting] if setting.setting else []),
    ]
    return ", ".join(parts)


def rows(measured: Measured, tables: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of printed tables: a row a setting, then one for each method of another paper, `paper | ours` in
    each column."""
    figures = [figure for table in tables for figure in (*papers.printed(table), *papers.quoted(table))]
    columns = list(dict.fromkeys(_column(figure) for figure in figures))
    found: dict[str, dict[str, str]] = {}
    for figure in figures:
        pair = f"{figure.value or '-'} | {said(ours(measured, figure))}"
        found.setdefault(_label(figure), {})[_column(figure)] = pair
    lines = [[name, *(cells.get(column, "") for column in columns)] for name, cells in found.items()]
    return ["setting", *columns], lines


OURS = "mean ± sample deviation over seeds"


def table(title: str, header: Sequence[str], lines: Sequence[Sequence[str]], caption: str = OURS) -> Table:
    """For a terminal; the first column holds names, the others figures."""
    made = Table(title=title, box=box.SIMPLE_HEAD, caption=caption)
    for name in header:
        made.add_column(name, justify="left" if name == header[0] else "right")
    for line in lines:
        made.add_row(*line)
    return made


def tabulated(name: str, title: str, tables: Sequence[str], on_mlp: bool = False) -> Entry:
    """An entry that is a table: what `papers/` has under these names is trained, and printed beside the paper's."""

    def show(measured: Measured, root: Path) -> None:
        del root
        header, lines = rows(measured, tables)
        heading = f"{name}: {title} ({measured.scale.name} scale)"
        caption = f"paper | ours, {OURS}\n{regimes(measured.scale, settings)}"
        style.console().print(table(heading, header, lines, caption=caption))

    competing = competition([figure for one in tables for figure in papers.quoted(one)])
    settings = [setting for one in tables for setting in papers.settings(one)]
    own = trainings(settings)

    def cells(scale: Scale) -> list[Cell]:
        return [*own(scale), *(one.cell for one in competing(scale))]

    def follow(scale: Scale, root: Path) -> None:
        make(competing(scale), root)

    quotes = any(papers.quoted(one) for one in tables)
    return Entry(name, title, show, cells, follow, (PRUNINGS,), on_mlp, figures_only=not quotes)


def regimes(scale: Scale, settings: Sequence[Setting]) -> str:
    """How many of the paper's steps the settings have, and what that comes to; a line for each kind of training."""
    return "\n".join(dict.fromkeys(scale.regime(one) for one in scale.trained(settings)))


def summarised(name: str, title: str, settings: Sequence[Setting]) -> Entry:
    """An entry of trainings that no paper has a table of: what came out of each."""

    def show(measured: Measured, root: Path) -> None:
        del root
        header = ["setting", "error (%)", "dead by scale (%)", "dead by activation (%)", "error once pruned (%)"]
        metrics = ("test_error", "sparsity_scale", "sparsity_activation", "test_error_silenced")
        lines = [[label(one), *(said(measured.values(one, metric)) for metric in metrics)] for one in settings]
        caption = f"{OURS}\n{regimes(measured.scale, settings)}"
        style.console().print(table(f"{name}: {title} ({measured.scale.name} scale)", header, lines, caption))

    return Entry(name, title, show, trainings(settings), figures_only=True)
