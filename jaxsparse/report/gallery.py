"""The figures of the report page with their titles and captions, drawn from a grid's folder."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from matplotlib.figure import Figure

from jaxsparse import criteria
from jaxsparse.checks import InvalidInput
from jaxsparse.criteria import Thresholds
from jaxsparse.report import figures, histories
from jaxsparse.report.table import Summary, number
from jaxsparse.rules import INK


@dataclass(frozen=True)
class Picture:
    """A figure of the page; without a drawing where there is nothing to draw, and the caption says why."""

    name: str
    """of its files"""
    title: str
    caption: str
    svg: str | None
    png: bytes | None

    @property
    def inline(self) -> Markup:
        """The figure as an element of the page, in the page's ink on its paper."""
        assert self.svg is not None
        element = self.svg[self.svg.index("<svg") :]
        themed = element.replace(INK, "currentColor").replace(figures.PAPER, "var(--paper)")
        return Markup(themed)  # texts are drawn as paths, so nothing from the records is in it as text


@dataclass(frozen=True)
class Shown:
    """A grid as figures see it."""

    folder: Path
    summary: Summary
    thresholds: Thresholds
    """of a dead unit, in its runs"""
    time: str = "epoch"
    """what the epochs of its histories are"""

    @property
    def dead(self) -> str:
        """`dead by scale (|γ| < 1e-3)`"""
        by = self.summary.criterion
        what = "|γ|" if by == "scale" else "of the incoming weights"
        return f"dead by {by} ({what} < {number(self.threshold)})"

    @property
    def threshold(self) -> float:
        """Of the criterion that the grid goes by."""
        return float(getattr(self.thresholds, self.summary.criterion))

    @property
    def seeds(self) -> str:
        """`3 seeds`"""
        count = self.summary.layout.seeds
        return f"{count} seeds" if count > 1 else "one seed"


@dataclass(frozen=True)
class Drawn:
    """A figure with its texts."""

    title: str
    figure: Figure | None
    """none where there is nothing to draw"""
    caption: str
    absent: str = "No network was trained to its end, so there is nothing to draw."
    """stands in the caption's place where there is no figure"""


SPREAD = "one sample standard deviation to either side"


def _over_training(grid: Shown) -> Drawn:
    return Drawn(
        "Sparsity over training",
        figures.course(histories.courses(grid.folder, grid.summary.criterion), grid.summary.layout, grid.time),
        f"Percent of hidden units that are {grid.dead} over the {grid.time}s of training. Lines are means "
        f"over {grid.seeds}, bands {SPREAD}. The first point is after the first interval, not before training.",
    )


def _against_error(grid: Shown) -> Drawn:
    return Drawn(
        "Sparsity against test error",
        figures.tradeoff(grid.summary),
        "Each point is an optimizer under a regularizer at the end of training: colour tells the optimizer, shape the "
        f"form of the regularizer, size its strength. Means over {grid.seeds}, bars {SPREAD}. Right is sparser, down "
        f"is more accurate. Points with at least {figures.SIGNIFICANT:g} % dead units are labelled where there is "
        "room.",
    )


def _by_layer(grid: Shown) -> Drawn | None:
    layers = histories.layers(grid.folder, grid.threshold, grid.summary.criterion)
    if layers is None:
        return None
    names = ", ".join(f"{place} {name}" for place, name in enumerate(layers.names, 1))
    return Drawn(
        "Sparsity by layer",
        figures.by_layer(layers, grid.summary.layout),
        f"Percent of each layer's units that are {grid.dead} at the end of training, mean over "
        f"{grid.seeds}. Layers: {names}.",
    )


def _scales(grid: Shown) -> Drawn:
    pair = histories.adam_beside_sgd(grid.folder, grid.summary)
    networks, scale = " and ".join(str(side.seeds) for side in pair or ()), grid.thresholds.scale
    return Drawn(
        "How scales and shifts develop",
        figures.evolution(pair, scale, grid.time),
        "Distribution of the scale γ (top) and the shift β (bottom) of batch normalisation over all hidden units in "
        "the course of training, Adam beside SGD under the same L2, the units of all seeds together "
        f"({networks} networks). Each column is a measured {grid.time} and adds up to 100 %. The axes are linear "
        f"between ±{number(scale)} and logarithmic beyond; between the dashed lines a unit is dead by scale.",
        "Left out: it compares Adam with SGD under the same coupled L2, and this grid has no finished pair of them, or "
        "its networks have no scales.",
    )


def _criteria(grid: Shown) -> Drawn:
    ended = any(entry.done for entry in grid.summary.flat)
    names = {name for entry in grid.summary.flat for name in entry.sparsity} - set(criteria.names_of(Thresholds()))
    own = "".join(f", by {name}" for name in sorted(names))
    return Drawn(
        "Do the criteria agree?",
        figures.criteria(grid.summary),
        f"Percent of units that are dead by scale (|γ| < {number(grid.thresholds.scale)}), by activation (largest "
        f"activation over the training set ≤ {number(grid.thresholds.activation)}) and by the norm of their incoming "
        f"weights (< {number(grid.thresholds.norm)}){own} at the end of training, wherever one finds any. Means over "
        f"{grid.seeds}, bars {SPREAD}. A unit that is dead by scale but not by activation still puts out nearly a "
        "constant, the positive part of its shift β.",
        "Left out: by no criterion is any unit dead." if ended else Drawn.absent,
    )


FIGURES: Mapping[str, Callable[[Shown], Drawn | None]] = {
    "sparsity-over-training": _over_training,
    "sparsity-against-error": _against_error,
    "sparsity-by-layer": _by_layer,
    "scales-over-training": _scales,
    "criteria": _criteria,
}
"""Every figure of a grid by name, in the page's order; one that is none does not apply."""


def _own(draw: Callable[[Path], Figure]) -> Callable[[Shown], Drawn]:
    """A figure of a person's own, with the texts of its docstring."""
    title, _, caption = inspect.cleandoc(draw.__doc__ or draw.__name__).partition("\n")
    return lambda grid: Drawn(title.rstrip("."), draw(grid.folder), " ".join(caption.split()))


def draw(grid: Shown, more: Sequence[Callable[[Path], Figure]] = ()) -> Iterator[Picture]:
    """Every figure of a grid, in the page's order, and then a person's own.

    Args:
      grid: with its table.
      more: functions from its folder to a figure.
    """
    for name, maker in {**FIGURES, **{each.__name__.strip("_"): _own(each) for each in more}}.items():
        drawn = maker(grid)
        if drawn is None:
            continue
        if drawn.figure is None:
            yield Picture(name, drawn.title, drawn.absent, None, None)
        else:
            yield Picture(name, drawn.title, drawn.caption, figures.svg(drawn.figure), figures.png(drawn.figure))


def figure(grid: Shown, name: str) -> Figure:
    """One of `FIGURES`.

    Args:
      grid: with its table.
      name: its name, or how it begins; the first where several do.

    Raises:
      InvalidInput: for another name; or where there is nothing to draw, saying why.
    """
    maker = next((maker for known, maker in FIGURES.items() if known.startswith(name)), None)
    if maker is None:
        raise InvalidInput(f"figure must be one of {' '.join(FIGURES)}, or how it begins, got {name!r}")
    drawn = maker(grid)
    if drawn is None or drawn.figure is None:
        reason = "it does not apply to this grid" if drawn is None else drawn.absent
        raise InvalidInput(f"figure must be one that can be drawn, got {name!r}: {reason}")
    return drawn.figure
