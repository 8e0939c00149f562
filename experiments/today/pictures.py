"""Dead units against the test error, a line a rule: what a decay kills, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from experiments.today.verdicts import Outcome
from jaxsparse.report.figures import in_style
from jaxsparse.report.table import optimizer_label

FORMS = {
    "none": ("o", "#8a9299", "none"),
    "L2 1e-4": ("s", "#E69F00", "L2 1e-4"),
    "L2 1e-3": ("s", "#D55E00", "L2 1e-3"),
    "WD 1e-4": ("^", "#56B4E9", "decoupled decay 1e-4"),
    "WD 1e-3": ("^", "#0072B2", "decoupled decay 1e-3"),
}
"""Marker, colour and name of each regularizer."""


@in_style
def by_rule(found: Mapping[str, Mapping[str, Outcome]], title: str) -> Figure:
    """Left the share of dead units under each regularizer, right the test error; bars are sample deviations."""
    figure = Figure(figsize=(8.5, 0.8 + 0.33 * len(found)), layout="constrained")
    dead, error = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for row, forms in enumerate(found.values()):
        for place, (form, (marker, color, _)) in enumerate(FORMS.items()):
            if form not in forms:
                continue
            height = row + 0.13 * (place - 2)
            for axes, values in ((dead, forms[form].dead), (error, forms[form].error)):
                axes.errorbar(
                    np.mean(values),
                    height,
                    xerr=np.std(values, ddof=1),
                    fmt=marker,
                    color=color,
                    markersize=5,
                    elinewidth=1,
                )
    for axes in (dead, error):
        for row in range(1, len(found)):
            axes.axhline(row - 0.5, color="0.85", linewidth=0.6)
        axes.grid(visible=False, axis="y")
    dead.set_yticks(range(len(found)), [optimizer_label(rule) for rule in found])
    dead.set_ylim(len(found) - 0.5, -0.5)
    dead.set_xlabel("dead units (% with |gamma| < 1e-3)")
    error.set_xlabel("test error (%)")
    dead.set_xlim(-2, 100)
    for form, (marker, color, name) in FORMS.items():
        if any(form in forms for forms in found.values()):
            dead.plot([], [], marker=marker, color=color, linestyle="", markersize=5, label=name)
    figure.legend(loc="outside lower center", ncols=5, frameon=False)
    figure.suptitle(title)
    return figure
