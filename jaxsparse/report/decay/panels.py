"""|weight| over the steps, a panel per optimizer and regularizer, a colour per strength."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TypeAlias

import matplotlib as mpl
import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from jaxsparse.report.decay.curves import bottom_of, curves_of, logarithmic, thinned
from jaxsparse.report.figures import in_style
from jaxsparse.report.table import REGULARIZERS, number, optimizer_label

Color: TypeAlias = tuple[float, float, float, float]


def _colors(strengths: Sequence[float]) -> dict[float, Color]:
    """The stronger the lighter, none too light to be seen on paper; told apart with any colour vision."""
    places = np.linspace(0.0, 0.88, len(strengths)) if len(strengths) > 1 else [0.4]
    return {
        strength: mpl.colormaps["viridis"](place) for strength, place in zip(sorted(strengths), places, strict=True)
    }


def _strengths(handles: dict[float, Color]) -> list[Line2D]:
    return [Line2D([], [], color=color, label=number(strength)) for strength, color in handles.items()]


@in_style
def panels(table: pa.Table) -> Figure:
    """|weight| over the steps, both logarithmic, of the first seed: Mehta et al. 2019, Figure 4 and supplement's 3."""
    curves = curves_of(table)
    optimizers = list(dict.fromkeys(curve.optimizer for curve in curves))
    regularizers = list(dict.fromkeys(curve.regularizer for curve in curves))
    colors = _colors(list(dict.fromkeys(curve.strength for curve in curves)))
    bottom = bottom_of(curves)
    top = max(10 * bottom, *(float(np.abs(curve.values[0])) for curve in curves))
    figure = Figure(figsize=(8, 1.2 + 1.25 * len(optimizers)))
    grid = figure.subplots(len(optimizers), len(regularizers), sharex=True, sharey=True, squeeze=False)
    for curve in curves:
        axes = grid[optimizers.index(curve.optimizer), regularizers.index(curve.regularizer)]
        steps, values = thinned(curve)
        axes.plot(steps, np.maximum(np.abs(values), bottom / 10), color=colors[curve.strength], linewidth=1.1)
    for (row, optimizer), (column, regularizer) in itertools.product(enumerate(optimizers), enumerate(regularizers)):
        axes = grid[row, column]
        logarithmic(axes, bottom, top)
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        if row == 0:
            axes.set_title({"wd": "decoupled decay (WD)"}.get(regularizer, REGULARIZERS.get(regularizer, regularizer)))
        if column == 0:
            axes.set_ylabel(optimizer_label(optimizer), fontweight="bold")
    figure.supxlabel("step", fontsize=9)
    figure.supylabel("|weight|", fontsize=9)
    figure.legend(handles=_strengths(colors), title="strength", loc="outside upper left", ncols=6, alignment="left")
    return figure
