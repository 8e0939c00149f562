"""The figure of `jaxsparse shrink`: units of each layer before and after."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from jaxsparse.report.figures import in_style
from jaxsparse.rules import INK

BEFORE, AFTER = "#8a929955", "#0072B2"


@in_style
def bars(widths: Mapping[str, tuple[int, int]]) -> Figure:
    """A horizontal bar per layer, in order from the top: what is left, in front of what was there."""
    figure = Figure(figsize=(8, 0.9 + 0.3 * len(widths)))
    axes = figure.add_subplot()
    places = list(range(len(widths)))
    before, after = ([width[i] for width in widths.values()] for i in (0, 1))
    axes.barh(places, before, color=BEFORE, label="before")
    axes.barh(places, after, height=0.5, color=AFTER, label="after")
    for place, old, new in zip(places, before, after, strict=True):
        text = f" {new:,} of {old:,}" if new < old else f" {old:,}"
        axes.text(old, place, text, va="center", fontsize=8, color=INK)
    axes.set_yticks(places, list(widths))
    axes.set_ylim(len(widths) - 0.4, -0.6)
    axes.set_xlim(0, 1.18 * max(before, default=1))
    axes.set_xlabel("units")
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside upper right", ncols=2)
    return figure
