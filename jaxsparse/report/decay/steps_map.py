"""Steps to 1e-12 over strength and learning rate: colour for what was simulated, contours for what theory predicts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MultipleLocator

from jaxsparse.report.figures import NIGHT, WHITE, in_style
from jaxsparse.report.table import optimizer_label

LEVELS = np.arange(2, 11)
"""Powers of ten that contours are drawn at."""
NEVER = "#c9cdd1"
"""Where the simulated weight did not get there."""
COLUMNS = 4
"""Panels in a row."""
OUTLINE = withStroke(linewidth=2.2, foreground=NIGHT)
LINE: Mapping[str, Any] = {"linewidth": 1.0, "path_effects": [OUTLINE]}


def _image(rows: pa.Table, column: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logarithms of strengths and learning rates, and a column's `[learning rates, strengths]`; nan where none."""
    rows = rows.sort_by([("learning_rate", "ascending"), ("strength", "ascending")])
    strengths, rates = (np.unique(rows[name].to_numpy()) for name in ("strength", "learning_rate"))
    values = rows[column].to_numpy().astype(float)
    return np.log10(strengths), np.log10(rates), np.log10(values.reshape(len(rates), len(strengths)))


def draw_map(axes: Axes, rows: pa.Table, most: float) -> QuadMesh:
    """Draws the map of an optimizer into axes of exponents; gives the image, whose colours end at `10^most` steps."""
    strengths, rates, powers = _image(rows, "steps_to_1e-12")
    cells = np.ma.masked_invalid(powers)
    image = axes.pcolormesh(strengths, rates, cells, vmin=1, vmax=most, cmap="viridis", rasterized=True)
    axes.set_facecolor(NEVER)
    strengths, rates, powers = _image(rows.filter(pc.field("theory").is_valid()), "theory")
    predicted = np.ma.masked_invalid(powers)
    lines = axes.contour(strengths, rates, predicted, levels=LEVELS, colors=WHITE, linewidths=LINE["linewidth"])
    lines.set_path_effects([OUTLINE])
    for label in axes.clabel(lines, fmt=_power, fontsize=7, colors=WHITE, inline_spacing=1):
        label.set_path_effects([OUTLINE])
    axes.set_title(optimizer_label(rows["optimizer"][0].as_py()))
    axes.grid(False)
    return image


def _power(exponent: float, place: object = None) -> str:
    del place
    return f"$10^{{{exponent:.0f}}}$"


@in_style
def steps_map(table: pa.Table) -> Figure:
    """A map per optimizer, and what colours and lines mean in the free place."""
    optimizers = list(dict.fromkeys(table["optimizer"].to_pylist()))
    steps = int(table["steps"][0].as_py())
    columns = min(COLUMNS, len(optimizers) + 1)
    rows = math.ceil((len(optimizers) + 1) / columns)
    figure = Figure(figsize=(2 * columns, 0.5 + 1.9 * rows))
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).reshape(-1)
    for axes in grid[len(optimizers) :]:
        axes.set_axis_off()
    for axes, optimizer in zip(grid, optimizers, strict=False):
        image = draw_map(axes, table.filter(pc.field("optimizer") == optimizer), math.log10(steps))
        axes.tick_params(labelbottom=True)
    for axis in (grid[0].xaxis, grid[0].yaxis):
        axis.set_major_locator(MultipleLocator(2))
        axis.set_major_formatter(_power)
    key = grid[len(optimizers)]
    handles = [
        Line2D([], [], color=WHITE, label="by theory", **LINE),
        Patch(color=NEVER, label=f"not in {steps:,} steps"),
    ]
    legend = key.legend(handles=handles, loc="lower left", bbox_to_anchor=(-0.12, 0.42), handlelength=1.4, fontsize=8)
    bar = figure.colorbar(image, cax=key.inset_axes((-0.04, 0.3, 1.0, 0.08)), orientation="horizontal", format=_power)
    bar.set_label("simulated steps\nfrom 1 to |weight| < 1e-12", fontsize=8)
    for part in (legend, bar.ax):  # would widen the column
        part.set_in_layout(False)
    figure.supxlabel("L2 strength", fontsize=9)
    figure.supylabel("learning rate", fontsize=9)
    return figure
