"""The figures of the report page with their titles and captions, drawn from a grid's folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from matplotlib.figure import Figure

from jaxsparse.config import Thresholds
from jaxsparse.report import figures, histories
from jaxsparse.report.table import Summary, number


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
        themed = element.replace(figures.INK, "currentColor").replace(figures.PAPER, "var(--paper)")
        return Markup(themed)  # texts are drawn as paths, so nothing from the records is in it as text


def _picture(name: str, title: str, drawn: Figure | None, caption: str, absent: str) -> Picture:
    if drawn is None:
        return Picture(name, title, absent, None, None)
    return Picture(name, title, caption, figures.svg(drawn), figures.png(drawn))


def draw(folder: Path, summary: Summary, thresholds: Thresholds) -> Iterator[Picture]:
    """Every figure of a grid, in the page's order.

    Args:
      folder: of the grid.
      summary: its table.
      thresholds: of a dead unit, in its runs.
    """
    layout, scale, by = summary.layout, number(thresholds.scale), summary.criterion
    threshold = {"scale": thresholds.scale, "norm": thresholds.norm}[by]
    dead = f"dead by {by} ({'|γ|' if by == 'scale' else 'of the incoming weights'} < {number(threshold)})"
    seeds = f"{layout.seeds} seeds" if layout.seeds > 1 else "one seed"
    spread = "one sample standard deviation to either side"
    nothing = "No network was trained to its end, so there is nothing to draw."
    yield _picture(
        "sparsity-over-training",
        "Sparsity over training",
        figures.course(histories.courses(folder, by), layout),
        f"Percent of hidden units that are {dead} over the epochs of training. Lines are means "
        f"over {seeds}, bands {spread}. The first point is after the first interval, not before training.",
        nothing,
    )
    yield _picture(
        "sparsity-against-error",
        "Sparsity against test error",
        figures.tradeoff(summary),
        "Each point is an optimizer under a regularizer at the end of training: colour tells the optimizer, shape the "
        f"form of the regularizer, size its strength. Means over {seeds}, bars {spread}. Right is sparser, down is "
        f"more accurate. Points with at least {figures.SIGNIFICANT:g} % dead units are labelled where there is room.",
        nothing,
    )
    layers = histories.layers(folder, threshold, by)
    if layers is not None:
        names = ", ".join(f"{place} {name}" for place, name in enumerate(layers.names, 1))
        yield _picture(
            "sparsity-by-layer",
            "Sparsity by layer",
            figures.by_layer(layers, layout),
            f"Percent of each layer's units that are {dead} at the end of training, mean over "
            f"{seeds}. Layers: {names}.",
            nothing,
        )
    pair = histories.adam_beside_sgd(folder, summary)
    networks = " and ".join(str(side.seeds) for side in pair or ())
    yield _picture(
        "scales-over-training",
        "How scales and shifts develop",
        figures.evolution(pair, thresholds.scale),
        "Distribution of the scale γ (top) and the shift β (bottom) of batch normalisation over all hidden units in "
        "the course of training, Adam beside SGD under the same L2, the units of all seeds together "
        f"({networks} networks). Each column is a measured epoch and adds up to 100 %. The axes are linear between "
        f"±{scale} and logarithmic beyond; between the dashed lines a unit is dead by scale.",
        "Left out: it compares Adam with SGD under the same coupled L2, and this grid has no finished pair of them, or "
        "its networks have no scales.",
    )
    yield _picture(
        "criteria",
        "Do the criteria agree?",
        figures.criteria(summary),
        f"Percent of units that are dead by scale (|γ| < {scale}), by activation (largest activation over the "
        f"training set ≤ {number(thresholds.activation)}) and by the norm of their incoming weights "
        f"(< {number(thresholds.norm)}) at the end of training, wherever one finds any. Means over {seeds}, bars "
        f"{spread}. A unit that is dead by scale but not by activation still puts out nearly a constant, the positive "
        "part of its shift β.",
        "Left out: by no criterion is any unit dead." if any(entry.done for entry in summary.flat) else nothing,
    )
