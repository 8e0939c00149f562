"""The picture of a profile: bars of the operations that take longest."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from jaxsparse.bench.profile import Spent
from jaxsparse.report.figures import NEUTRAL, in_style
from jaxsparse.rules import INK

COLORS = {"forward": "#56B4E9", "gradient": "#0072B2", "elsewhere": "#E69F00"}
"""By part of the step."""
NAMES = {"elsewhere": "elsewhere (update rule, order of the images)"}
MOST = 12
"""Bars; the rest is one more."""


@in_style
def draw(spent: Sequence[Spent], step: float) -> Figure:
    """Draws a profile.

    Args:
      spent: the longest first.
      step: microseconds of one without the profiler, which takes time itself.
    """
    shown, rest = spent[:MOST], spent[MOST:]
    total = sum(one.microseconds for one in spent)
    bars = [(one.operation.source, one.microseconds, COLORS[one.operation.part]) for one in shown]
    if rest:
        bars.append((f"{len(rest)} others", sum(one.microseconds for one in rest), NEUTRAL))
    figure = Figure(figsize=(8, 1.2 + 0.26 * len(bars)))
    axes = figure.subplots()
    for place, (_, microseconds, color) in enumerate(bars):
        axes.barh(place, microseconds, color=color)
        axes.annotate(
            f"{100 * microseconds / total:.0f} %",
            (microseconds, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color=INK,
        )
    axes.set_yticks(range(len(bars)), [name for name, *_ in bars])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.08)
    axes.set_xlabel(f"microseconds of a step while profiled (in all {total:,.0f}; unprofiled {step:,.0f})")
    keys = [Patch(color=color, label=NAMES.get(part, part)) for part, color in COLORS.items()]
    figure.legend(handles=keys, loc="outside upper left", ncols=len(keys))
    return figure
