"""What a person sees of `jaxsparse decay`: two figures, of the tables that it made.

    panels(curves)       |weight| over the steps: a panel per optimizer and regularizer, a colour per strength
    straight(curves)     weights without a gradient, on an axis where doubly exponential decay is a straight line

The curves are Arrow tables with the columns `optimizer regularizer strength convention seed step value`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import matplotlib as mpl
import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from jaxsparse.report.figures import in_style, look
from jaxsparse.report.table import REGULARIZERS, number, optimizer_label

DECADES = 12
"""Powers of ten below 1 that are shown at most."""


class Curve(NamedTuple):
    """The weight of one setting over the steps."""

    optimizer: str
    regularizer: str
    strength: float
    steps: np.ndarray
    values: np.ndarray


def curves_of(table: pa.Table, seed: int = 0) -> list[Curve]:
    """The curves of one seed, in the table's order."""
    columns = {name: table[name].to_numpy() for name in table.column_names}
    chosen = columns["seed"] == seed
    optimizer, regularizer, strength, steps, values = (
        columns[name][chosen] for name in ("optimizer", "regularizer", "strength", "step", "value")
    )
    begins = np.flatnonzero(steps == 0)
    return [
        Curve(optimizer[begin], regularizer[begin], strength[begin], steps[begin:end], values[begin:end])
        for begin, end in zip(begins, [*begins[1:], len(steps)], strict=True)
    ]


Color: TypeAlias = tuple[float, float, float, float]


def _colors(strengths: Sequence[float]) -> dict[float, Color]:
    """The stronger the lighter, none too light to be seen on paper; told apart with any colour vision."""
    places = np.linspace(0.0, 0.88, len(strengths)) if len(strengths) > 1 else [0.4]
    return {
        strength: mpl.colormaps["viridis"](place) for strength, place in zip(sorted(strengths), places, strict=True)
    }


def _magnitude(axes: Axes, bottom: float, top: float) -> None:
    """A logarithmic axis of |weight| with few ticks."""
    axes.set_yscale("log")
    axes.set_ylim(bottom, 2 * top)
    axes.yaxis.set_major_locator(LogLocator(numticks=5))
    axes.yaxis.set_minor_locator(NullLocator())


def _bottom(curves: Sequence[Curve]) -> float:
    """Where the axis of |weight| ends: a decade below the smallest level that a weight stays at for a while."""
    levels = [float(np.median(np.abs(curve.values[-len(curve.values) // 5 :]))) for curve in curves]
    return max(10.0**-DECADES, 10 ** (np.floor(np.log10(max(min(levels), 1e-300))) - 1))


def _strengths(handles: dict[float, Color]) -> list[Line2D]:
    return [Line2D([], [], color=color, label=number(strength)) for strength, color in handles.items()]


def _thinned(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values for a logarithmic axis of steps: at most 120 for each power of ten."""
    _, first = np.unique(np.floor(120 * np.log10(np.maximum(curve.steps, 0.5))), return_index=True)
    return curve.steps[first[1:]], curve.values[first[1:]]


@in_style
def panels(table: pa.Table) -> Figure:
    """|weight| over the steps, both logarithmic, of the first seed: Mehta et al. 2019, Figure 4 and supplement's 3."""
    curves = curves_of(table)
    optimizers = list(dict.fromkeys(curve.optimizer for curve in curves))
    regularizers = list(dict.fromkeys(curve.regularizer for curve in curves))
    colors = _colors(list(dict.fromkeys(curve.strength for curve in curves)))
    bottom = _bottom(curves)
    top = max(10 * bottom, *(float(np.abs(curve.values[0])) for curve in curves))
    figure = Figure(figsize=(8, 1.2 + 1.25 * len(optimizers)))
    grid = figure.subplots(len(optimizers), len(regularizers), sharex=True, sharey=True, squeeze=False)
    for curve in curves:
        axes = grid[optimizers.index(curve.optimizer), regularizers.index(curve.regularizer)]
        steps, values = _thinned(curve)
        axes.plot(steps, np.maximum(np.abs(values), bottom / 10), color=colors[curve.strength], linewidth=1.1)
    for (row, optimizer), (column, regularizer) in itertools.product(enumerate(optimizers), enumerate(regularizers)):
        axes = grid[row, column]
        _magnitude(axes, bottom, top)
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


def _before_sign_change(curve: Curve) -> Iterator[np.ndarray]:
    """Steps and values as long as the weight has its first sign and is below 1."""
    inside = (curve.values > 0) & (curve.values < 1)
    end = len(inside) if inside.all() else int(np.argmin(inside))
    yield curve.steps[:end]
    yield curve.values[:end]


@in_style
def straight(table: pa.Table) -> Figure:
    """Weights without a loss gradient: left as they are, right `log(-log w)`, up to the first change of sign."""
    curves = curves_of(table)
    right_end = min(1500, int(curves[0].steps[-1]))
    figure = Figure(figsize=(8, 3.9))
    left, right = figure.subplots(1, 2)
    for curve in curves:
        of = look(curve.optimizer)
        size = np.maximum(np.abs(curve.values), 10.0 ** -(DECADES + 1))
        left.plot(curve.steps, size, color=of.color, linestyle=of.dashes, linewidth=1.2)
        steps, values = _before_sign_change(curve)
        right.plot(steps, -np.log10(values), color=of.color, linestyle=of.dashes)
    _magnitude(left, 10.0**-DECADES, 1.0)
    left.set(title=f"L2 {number(curves[0].strength)}, no gradient of the loss", xlabel="step", ylabel="|weight|")
    right.set(
        title="doubly exponential decay is straight",
        xlabel="step",
        xlim=(0, right_end),
        ylabel="weight, up to its first change of sign",
        yscale="log",
    )
    powers = [1, 2, 3, 6, 12, 24]
    right.set_yticks(powers, [f"$10^{{-{power}}}$" for power in powers])
    right.yaxis.set_minor_locator(NullLocator())
    right.set_ylim(25, 0.6)
    names = dict.fromkeys(curve.optimizer for curve in curves)
    handles = [Line2D([], [], color=look(n).color, linestyle=look(n).dashes, label=optimizer_label(n)) for n in names]
    figure.legend(handles=handles, loc="outside upper left", ncols=7, columnspacing=1.0, handlelength=2.0)
    return figure
