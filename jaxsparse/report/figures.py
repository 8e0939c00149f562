"""The figures of a grid, as matplotlib `Figure`s without any global state.

    tradeoff(summary)                   sparsity against test error
    course(courses, layout)             sparsity over training, a panel per regularizer and strength
    by_layer(layers, layout)            sparsity of each layer at the end
    evolution(pair, threshold)          distribution of gamma and beta over training
    criteria(summary)                   how the three criteria of a dead unit agree

Each returns none where there is nothing to draw. `draw_tradeoff` and `draw_course` draw into axes of the caller's.
Colours and line styles belong to optimizers, markers to forms of regularizers; nothing is told by colour alone.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

from jaxsparse.criteria import CRITERIA, Criterion
from jaxsparse.report.histories import Course, Evolution, Key, Layers
from jaxsparse.report.table import (
    REGULARIZERS,
    Column,
    Entry,
    Estimate,
    Layout,
    Summary,
    number,
    optimizer_label,
    percent,
)
from jaxsparse.rules import KNOWN, Look

STYLE = Path(__file__).with_name("style.mplstyle")
PAPER = "#fdfdfd"
"""Of the background, as `INK` of text: the page swaps them in dark mode, so nothing else has these colours."""

MARKERS: Mapping[str, str] = {
    "none": "o",
    "l2": "s",
    "wd": "^",
    "wd-lr": "v",
    "wd-cautious": "<",
    "wd-to-start": ">",
    "spred": "*",
    "bn-l1": "D",
    "group-lasso": "P",
}
"""Of each form of regularizer."""


OTHERS = tuple(Look("#7f7f7f", dashes) for dashes in ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (3, 1.5, 1, 1.5))))
"""Of optimizers that have no look of their own."""

NEUTRAL = "#8a9299"
"""Where a colour would tell nothing; legible on light and dark."""

NIGHT, WHITE = "#08101f", "#ffffff"
"""Behind the densities and of what is written on them; the same in dark mode."""

LABEL_PLACES = (
    *((8, 0, "left"), (-8, 0, "right"), (0, 11, "center"), (0, -11, "center")),
    *((6, 9, "left"), (6, -9, "left"), (-6, 9, "right"), (-6, -9, "right")),
)
"""Where a point's label may be: offset in points and alignment, the best first."""

SIGNIFICANT = 2.0
"""Percent of dead units from which on a point or line is labelled."""

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def styled() -> Iterator[None]:
    """The shipped style, and matplotlib's defaults under it whatever the user's are, for the duration of a block."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(mpl.rc_params_from_file(STYLE, use_default_template=False))
        yield


def in_style(draw: Callable[P, T]) -> Callable[P, T]:
    """Runs a function under the shipped style."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> T:
        with styled():
            return draw(*args, **kwargs)

    return drawn


@in_style
def svg(figure: Figure) -> str:
    """The figure as SVG, the same text for the same figure."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return buffer.getvalue()


@in_style
def png(figure: Figure) -> bytes:
    """The figure as PNG, 200 dots per inch."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def look(optimizer: str) -> Look:
    """How an optimizer is drawn."""
    rule = KNOWN.get(optimizer)
    return (rule and rule.look) or OTHERS[zlib.crc32(optimizer.encode()) % len(OTHERS)]


def key_of_lines(layout: Layout) -> list[Line2D]:
    """Handles for a legend: the lines of the optimizers."""
    looks = [(name, look(name)) for name in layout.optimizers]
    return [Line2D([], [], color=of.color, linestyle=of.dashes, label=optimizer_label(name)) for name, of in looks]


# Sparsity against test error


def _spread(estimate: Estimate) -> float:
    return estimate.deviation or 0.0


def _drawable(summary: Summary) -> list[tuple[Entry, Estimate, Estimate]]:
    """Entries with their sparsity and test error, for those that have both."""
    found = [(entry, entry.dead, entry.test_error) for entry in summary.flat]
    return [(entry, dead, error) for entry, dead, error in found if dead is not None and error is not None]


def _marker_sizes(layout: Layout) -> dict[float, float]:
    """Points by strength: the stronger the larger."""
    strengths = sorted({column.strength for column in layout.columns if column.regularizer != "none"})
    return {strength: 6.0 + 4.0 * index / max(1, len(strengths) - 1) for index, strength in enumerate(strengths)}


def _free_place(axes: Axes, text: Annotation, taken: Sequence[Bbox], renderer: RendererAgg) -> Bbox | None:
    """Moves a label around its point to where it overlaps nothing; the box it takes, none where there is no room."""
    inside = axes.get_window_extent(renderer).padded(2)
    for x, y, side in LABEL_PLACES:
        text.set(position=(x, y), horizontalalignment=side)
        box = text.get_window_extent(renderer)
        if inside.containsx(box.x0) and inside.containsx(box.x1) and not box.count_overlaps(taken):
            return box
    return None


def _label_points(axes: Axes, points: Sequence[tuple[Entry, Estimate, Estimate]]) -> None:
    """Writes optimizer and strength beside each point, the sparsest first, as far as there is room."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    reach = 5 * figure.dpi / 72
    taken: list[Bbox] = []
    for _, dead, error in points:
        (x0, y0), (x1, y1) = axes.transData.transform(
            [
                (dead.mean - _spread(dead), error.mean - _spread(error)),
                (dead.mean + _spread(dead), error.mean + _spread(error)),
            ]
        )
        x, y = axes.transData.transform((dead.mean, error.mean))
        taken += [Bbox.from_extents(x - reach, y - reach, x + reach, y + reach)]
        taken += [Bbox.from_extents(x0, y - 1, x1, y + 1), Bbox.from_extents(x - 1, y0, x + 1, y1)]
    for entry, dead, error in sorted(points, key=lambda point: -point[1].mean):
        if dead.mean < SIGNIFICANT:
            continue
        label = f"{optimizer_label(entry.optimizer)} {number(entry.column.strength)}"
        place = (dead.mean, error.mean)
        text = axes.annotate(label, place, (0, 0), textcoords="offset points", va="center", fontsize=7.5)
        box = _free_place(axes, text, taken, renderer)
        if box is None:
            text.remove()
        else:
            taken.append(box)


def draw_tradeoff(axes: Axes, summary: Summary) -> None:
    """Draws sparsity against test error into axes: a point per entry, bars of the standard deviation over seeds."""
    points = _drawable(summary)
    sizes = _marker_sizes(summary.layout)
    for entry, dead, error in points:
        color = look(entry.optimizer).color
        place = (dead.mean, error.mean)
        axes.errorbar(
            *place, xerr=_spread(dead), yerr=_spread(error), fmt="none", ecolor=color, elinewidth=0.9, alpha=0.6
        )
        axes.plot(
            *place,
            marker=MARKERS.get(entry.column.regularizer, "X"),
            markersize=sizes.get(entry.column.strength, 6.0),
            color=color,
            markeredgecolor=PAPER,
            markeredgewidth=0.8,
            zorder=3,
        )
    sparsest = max((dead.mean for _, dead, _ in points), default=0.0)
    right = max(10.0, 1.1 * sparsest)
    axes.set(xlabel="dead units (%)", ylabel="test error (%)", xlim=(-0.04 * right, right))
    axes.set_ylim(bottom=0)
    _label_points(axes, points)


def _point(label: str, color: str = NEUTRAL, marker: str = "o", size: float = 7.0) -> Line2D:
    """A handle for a legend."""
    return Line2D([], [], color=color, linestyle="", marker=marker, markersize=size, label=label)


def key_of_forms(layout: Layout) -> list[Line2D]:
    """Handles for a legend: the markers of the regularizers' forms."""
    forms = dict.fromkeys(column.regularizer for column in layout.columns)
    names = {form: "no regularizer" if form == "none" else REGULARIZERS.get(form, form) for form in forms}
    return [_point(name, marker=MARKERS.get(form, "X")) for form, name in names.items()]


def _key_of_points(layout: Layout) -> list[Line2D]:
    """Handles for a legend: colors of optimizers, markers of forms, sizes of strengths."""
    gap = _point(" ", size=0)
    sizes = _marker_sizes(layout).items()
    return [
        *(_point(optimizer_label(name), look(name).color) for name in layout.optimizers),
        gap,
        *key_of_forms(layout),
        gap,
        *(_point(f"strength {number(strength)}", marker="s", size=size) for strength, size in sizes),
    ]


@in_style
def tradeoff(summary: Summary) -> Figure | None:
    """Sparsity against test error of every entry, with a key of colours and markers beside it."""
    if not _drawable(summary):
        return None
    figure = Figure(figsize=(8, 4.8))
    axes = figure.subplots()
    figure.legend(handles=_key_of_points(summary.layout), loc="outside right upper", handletextpad=0.2)
    draw_tradeoff(axes, summary)
    return figure


# Sparsity over training


def _spread_apart(values: np.ndarray, gap: float) -> np.ndarray:
    """Moves rising values `[n]` by the least squares such that neighbours differ by at least the gap."""
    steps = gap * np.arange(len(values))
    free = values - steps
    # isotonic regression, by its min-max formula
    fitted = [
        max(min(free[start:end].mean() for end in range(place + 1, len(free) + 1)) for start in range(place + 1))
        for place in range(len(free))
    ]
    return np.asarray(fitted) + steps


def _end_labels(axes: Axes, ends: Mapping[str, float], x: float, gap: float) -> None:
    """Names lines at their right end; those that end near zero go without."""
    named = sorted((value, name) for name, value in ends.items() if value >= SIGNIFICANT)
    heights = _spread_apart(np.asarray([value for value, _ in named]), gap)
    for (value, name), height in zip(named, heights, strict=True):
        axes.plot([x, 1.05 * x], [value, height], color=look(name).color, linewidth=0.8)
        axes.text(1.06 * x, height, optimizer_label(name), va="center", fontsize=7.5)


def draw_course(
    axes: Axes, courses: Mapping[Key, Course], column: Column, layout: Layout, top: float, gap: float
) -> None:
    """Draws sparsity over training into axes: a line per optimizer, a band of the sample standard deviation over seeds.

    Args:
      axes: of the caller's.
      courses: by optimizer and column.
      column: the regularizer that is drawn.
      layout: of the table.
      top: end of the percentages' axis.
      gap: percentage points between the labels of two lines.
    """
    ends: dict[str, float] = {}
    longest = max((int(found.epochs[-1]) for found in courses.values()), default=1)
    for name in layout.optimizers:
        found = courses.get((name, column))
        if found is None:
            continue
        of = look(name)
        low, high = found.mean - found.deviation, found.mean + found.deviation
        axes.fill_between(found.epochs, low, high, color=of.color, alpha=0.18, linewidth=0)
        axes.plot(found.epochs, found.mean, color=of.color, linestyle=of.dashes)
        ends[name] = float(found.mean[-1])
    _end_labels(axes, ends, longest, gap)
    if ends and max(ends.values()) == 0:
        axes.text(longest / 2, 0.03 * top, "no dead unit", ha="center", va="bottom", fontsize=8)
    axes.set(xlim=(0, 1.42 * longest), ylim=(-0.015 * top, top))
    axes.set_xticks([0, longest / 2, longest], ["0", "", f"{longest}"])


def top_of(courses: Mapping[Key, Course]) -> float:
    """A common end of the percentages' axes: at least 10."""
    highest = [found.mean + found.deviation for found in courses.values()]
    return max([10.0, *(1.15 * float(np.nanmax(each)) for each in highest if np.isfinite(each).any())])


def _panels(layout: Layout) -> list[list[Column | None]]:
    """Columns of the table as a grid of panels: a row per form, a column per strength, "none" first; none: no panel."""
    forms = [form for form in dict.fromkeys(c.regularizer for c in layout.columns) if form != "none"]
    strengths = list(dict.fromkeys(c.strength for c in layout.columns if c.regularizer != "none"))
    plain: list[Column | None] = [column for column in layout.columns if column.regularizer == "none"]
    rows: list[list[Column | None]] = [[Column(form, strength) for strength in strengths] for form in forms]
    if not plain:
        return rows
    return [plain + rows[0], *([None, *row] for row in rows[1:])] if rows else [plain]


def _small_multiples(layout: Layout, draw: Callable[[Axes, Column], None], xlabel: str) -> Figure:
    """A panel per regularizer and strength under common axes, and a key of the optimizers in the free corner."""
    panels = _panels(layout)
    figure = Figure(figsize=(8, 0.6 + 2.1 * len(panels) if len(panels) > 1 else 3.2))
    grid = figure.subplots(len(panels), len(panels[0]), sharex=True, sharey=True, squeeze=False)
    for row, columns in zip(grid, panels, strict=True):
        for axes, column in zip(row, columns, strict=True):
            if column is None:
                axes.set_axis_off()
                continue
            axes.set_title("no regularizer" if column.regularizer == "none" else column.label)
            draw(axes, column)
    handles = key_of_lines(layout)
    if len(panels) > 1 and panels[1][0] is None:
        grid[1, 0].legend(handles=handles, loc="upper left", bbox_to_anchor=(-0.05, 0.8), borderaxespad=0)
        grid[0, 0].tick_params(labelbottom=True)
        for row in grid[1:]:
            row[1].tick_params(labelleft=True)
    else:
        figure.legend(handles=handles, loc="outside upper left", ncols=4)
    figure.supxlabel(xlabel, fontsize=9)
    figure.supylabel("dead units (%)", fontsize=9)
    return figure


@in_style
def course(courses: Mapping[Key, Course], layout: Layout, time: str = "epoch") -> Figure | None:
    """Sparsity over training: a panel per regularizer and strength, a line per optimizer; `time` names the axis."""
    if not courses:
        return None
    top = top_of(courses)
    return _small_multiples(
        layout, lambda axes, column: draw_course(axes, courses, column, layout, top, top / 13), time
    )


@in_style
def by_layer(layers: Layers | None, layout: Layout) -> Figure | None:
    """Sparsity of each layer at the end of training: a panel per regularizer and strength, a line per optimizer."""
    if layers is None:
        return None
    places = np.arange(1, len(layers.names) + 1)

    def draw(axes: Axes, column: Column) -> None:
        for name in layout.optimizers:
            if (name, column) in layers.mean:
                of = look(name)
                axes.plot(
                    places, layers.mean[name, column], color=of.color, linestyle=of.dashes, marker="o", markersize=4
                )
        axes.set(ylim=(-2, 102), xlim=(0.7, len(places) + 0.3))
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))

    return _small_multiples(layout, draw, "layer, from the input on")


# Distribution of scales and shifts over training


def _to_symlog(x: np.ndarray | float, threshold: float) -> np.ndarray:
    """Linear up to the threshold, where it is 1; a unit per factor of ten beyond."""
    size = np.abs(x) / threshold
    return np.sign(x) * np.where(size <= 1, size, 1 + np.log10(np.maximum(size, 1)))


def _from_symlog(y: np.ndarray, threshold: float) -> np.ndarray:
    """Inverse of `_to_symlog`."""
    size = np.abs(y)
    return np.sign(y) * threshold * np.where(size <= 1, size, 10 ** (np.maximum(size, 1) - 1))


def _bins(values: Sequence[np.ndarray], threshold: float) -> np.ndarray:
    """Edges of 8 bins per factor of ten over the values' range, at least from -threshold to 10 thresholds."""
    low = min(-1.0, *(float(_to_symlog(value.min(), threshold)) for value in values))
    high = max(2.0, *(float(_to_symlog(value.max(), threshold)) for value in values))
    return _from_symlog(np.arange(np.floor(8 * low), np.ceil(8 * high) + 1) / 8, threshold)


def _draw_distribution(
    axes: Axes, epochs: np.ndarray, values: np.ndarray, bins: np.ndarray, threshold: float
) -> QuadMesh:
    """Draws the share of units per bin and measured epoch; gives the image, for a color bar."""
    share = np.stack([100 * np.histogram(row, bins)[0] / row.size for row in values], axis=1)
    half = (epochs[1] - epochs[0]) / 2 if len(epochs) > 1 else 0.5
    sides = np.append(epochs - half, epochs[-1] + half)
    image = axes.pcolormesh(sides, bins, np.ma.masked_equal(share, 0), norm=LogNorm(0.02, 100), rasterized=True)
    axes.set_facecolor(NIGHT)
    axes.set_yscale("symlog", linthresh=threshold, linscale=0.9)
    axes.set(xlim=(0, sides[-1]), ylim=(bins[0], bins[-1]))
    axes.grid(False)
    return image


def _mark_dead(axes: Axes, side: Evolution, threshold: float) -> None:
    """Marks where |gamma| is below the threshold, and titles the axes with the share of units that end there."""
    dead = 100 * float((np.abs(side.gamma[-1]) < threshold).mean())
    axes.set_title(f"{side.label}: {percent(dead)} % dead at the end")
    for edge in (-threshold, threshold):
        axes.axhline(edge, color=WHITE, linewidth=0.8, linestyle="--")
    note = axes.annotate(
        f"dead: |γ| < {number(threshold)}",
        (0.98, -threshold),
        (0, 3),
        ("axes fraction", "data"),
        "offset points",
        color=WHITE,
        fontsize=8,
        ha="right",
    )
    note.set_path_effects([withStroke(linewidth=2.5, foreground=NIGHT)])


@in_style
def evolution(pair: Sequence[Evolution] | None, threshold: float, time: str = "epoch") -> Figure | None:
    """How gamma (top) and beta (bottom) are distributed over training, one entry of the table beside another.

    The axes are linear within the threshold and logarithmic beyond.
    """
    if pair is None:
        return None
    figure = Figure(figsize=(8, 5.4))
    grid = figure.subplots(2, len(pair), sharex=True, sharey="row", squeeze=False)
    gammas, betas = _bins([side.gamma for side in pair], threshold), _bins([side.beta for side in pair], threshold)
    for (top, bottom), side in zip(grid.T, pair, strict=True):
        _draw_distribution(top, side.epochs, side.gamma, gammas, threshold)
        _mark_dead(top, side, threshold)
        image = _draw_distribution(bottom, side.epochs, side.beta, betas, threshold)
        bottom.set_xlabel(time)
    grid[0, 0].set_ylabel("scale γ")
    grid[1, 0].set_ylabel("shift β")
    bar = figure.colorbar(image, ax=grid, label="units in a bin (%)", shrink=0.6, aspect=30, format="{x:g}")
    bar.minorticks_off()
    return figure


# The three criteria


@in_style
def criteria(summary: Summary) -> Figure | None:
    """Percent of dead units by each criterion, of the entries where any finds some."""
    chosen = [entry for entry in summary.flat if any(found.mean > 0 for found in entry.sparsity.values())]
    if not chosen:
        return None
    chosen.sort(key=lambda entry: max(found.mean for found in entry.sparsity.values()))
    figure = Figure(figsize=(8, 1.3 + 0.26 * len(chosen)))
    axes = figure.subplots()
    looks = {known.name: known.look for known in CRITERIA}
    for criterion in dict.fromkeys(name for entry in chosen for name in entry.sparsity):
        marker, color, size = looks.get(criterion, Criterion.look)
        rows = [(index, entry.sparsity[criterion]) for index, entry in enumerate(chosen) if criterion in entry.sparsity]
        axes.errorbar(
            [found.mean for _, found in rows],
            [index for index, _ in rows],
            xerr=[_spread(found) for _, found in rows],
            fmt=marker,
            color=color,
            markersize=size,
            elinewidth=0.9,
            markeredgewidth=2 if marker == "|" else 0,
            label=f"by {criterion}",
        )
    axes.set_yticks(range(len(chosen)), [entry.label for entry in chosen])
    axes.set(xlabel="dead units (%)", ylim=(-0.7, len(chosen) - 0.3))
    axes.set_xlim(left=-0.3)
    figure.legend(loc="outside upper left", ncols=3)
    return figure
