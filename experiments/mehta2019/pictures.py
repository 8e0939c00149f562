"""Pictures that several entries draw: gamma and beta while a network trains, and universality at its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.measured import Measured
from experiments.papers import Setting
from experiments.studies import place
from jaxsparse import records
from jaxsparse.checks import InvalidInput
from jaxsparse.report.figures import in_style

BANDS = ((5, 95), (25, 75))
"""Percentiles that bound the shaded bands, the wider first."""
BINS = np.linspace(0, 100, 21)
"""Of universality, in percent."""


class Course(NamedTuple):
    """A layer's values over the epochs: `[points]` and `[points, units]`."""

    epochs: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray


def _label(setting: Setting) -> str:
    return f"{setting.optimizer} {setting.regularizer} {setting.strength:g}"


def _course(measured: Measured, root: Path, setting: Setting, layer: int) -> Course:
    """Of the first seed; `layer` counts from the end where it is negative."""
    run = root / place(measured.scale.cells(setting)[0])
    if not run.exists():
        raise InvalidInput(f"run folder must hold a training of {_label(setting)}, got {str(root)!r}")
    read = records.epochs_of(run, ["epochs", "gamma", "beta", "layer_units"]).to_pydict()
    ends = np.cumsum(read["layer_units"][0])[:-1]
    gamma, beta = (np.split(np.asarray(read[name], float), ends, axis=1)[layer] for name in ("gamma", "beta"))
    return Course(np.asarray(read["epochs"]), gamma, beta)


def _draw_bands(axes: Axes, epochs: np.ndarray, values: np.ndarray, color: str) -> None:
    for low, high in BANDS:
        axes.fill_between(epochs, *np.percentile(values, (low, high), axis=1), color=color, alpha=0.25, linewidth=0)
    axes.plot(epochs, np.median(values, axis=1), color=color)
    axes.axhline(0, color="0.4", linewidth=0.8)


@in_style
def evolution(measured: Measured, root: Path, settings: Sequence[Setting], layer: int) -> Figure:
    """Gamma (above) and beta (below) of a layer over the epochs, a column a setting.

    Raises:
      InvalidInput: where one of the trainings is missing.
    """
    figure = Figure(figsize=(8, 4.2))
    panels = figure.subplots(2, len(settings), sharex=True, sharey="row", squeeze=False)
    for column, setting in zip(panels.T, settings, strict=True):
        course = _course(measured, root, setting, layer)
        _draw_bands(column[0], course.epochs, course.gamma, "#0072B2")
        _draw_bands(column[1], course.epochs, course.beta, "#D55E00")
        column[0].set_title(_label(setting))
        column[1].set_xlabel("epoch")
    panels[0, 0].set_ylabel("gamma")
    panels[1, 0].set_ylabel("beta")
    figure.suptitle(
        f"{measured.scale.name} scale, layer {-layer} from the end: median, middle half and middle 90 % of the filters",
        fontsize=9,
        x=0.01,
        ha="left",
    )
    return figure


@in_style
def universality(measured: Measured, settings: Sequence[tuple[str, Setting]], layers: int) -> Figure:
    """Histograms of the filters' universality, a row a setting and a column for each of the last layers; all seeds.

    Raises:
      InvalidInput: where one of the trainings is missing.
    """
    figure = Figure(figsize=(8, 0.9 + 1.25 * len(settings)))
    panels = figure.subplots(len(settings), layers, sharex=True, sharey="row", squeeze=False)
    for row, (label, setting) in zip(panels.tolist(), settings, strict=True):
        runs = measured.runs(setting)
        if not runs:
            raise InvalidInput(f"run folder must hold every training of {label}")
        ends = np.cumsum([int(units) for units in runs[0]["layer_units"]])[:-1]
        by_run = [np.split(np.asarray(run["unit_universality"], float), ends) for run in runs]
        row[0].set_ylabel(f"{label}\n% of filters")
        for number, axes in enumerate(row):
            place = number - layers
            values = np.concatenate([layer[place] for layer in by_run])
            axes.hist(values, BINS, weights=np.full(len(values), 100 / len(values)), color="#0072B2", alpha=0.85)
            axes.annotate(
                f"never: {100 * np.mean(values == 0):.0f} %",
                (0.5, 0.95),
                xycoords="axes fraction",
                ha="center",
                va="top",
                fontsize=7.5,
            )
            axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    for number, (top, bottom) in enumerate(zip(panels[0], panels[-1], strict=True)):
        top.set_title({1: "last layer", 2: "last but one"}.get(layers - number, f"{layers - number}. from the end"))
        bottom.set_xlabel("universality (%)")
    played = dict.fromkeys(setting.dataset for _, setting in settings)
    roles = "; ".join(f"{role}: {measured.scale.data[role]}" for role in played)
    figure.suptitle(f"{measured.scale.name} scale. {roles}", fontsize=8, x=0.01, ha="left")
    return figure
