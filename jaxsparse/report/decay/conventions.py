"""What the conventions make of the same rule: where epsilon sits decides whether and where a weight stops falling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from jaxsparse.report.decay.curves import DECADES, curves_of, logarithmic, rules_of, thinned
from jaxsparse.report.figures import in_style
from jaxsparse.report.table import number, optimizer_label
from jaxsparse.rules import INK

LOOKS: Mapping[str, Mapping[str, Any]] = {
    "torch": {"color": "#E69F00", "linewidth": 4.5},
    "keras": {"color": "#0072B2", "linewidth": 2.6},
    "optax": {"color": "#009E73", "linewidth": 1.8, "linestyle": (0, (4, 3))},
    "paper": {"color": INK, "linewidth": 1.2, "linestyle": (0, (1, 1.5))},
}
"""Of lines that may lie upon each other, the lowest first."""
LEVEL: Mapping[str, Any] = {"color": INK, "linewidth": 0.9, "linestyle": (0, (5, 2))}
BEGIN = 100
"""The step that the axis begins at: nothing tells the conventions apart before."""


@in_style
def conventions(curves: pa.Table, outcomes: pa.Table) -> Figure:
    """|weight| over the steps: a panel per optimizer, a line per convention, theory's level where it gives one."""
    found = curves_of(curves)
    optimizers = list(dict.fromkeys(curve.optimizer for curve in found))
    rows = -(-len(optimizers) // 2)
    figure = Figure(figsize=(8, 1.0 + 2.1 * rows))
    grid = figure.subplots(rows, min(2, len(optimizers)), sharex=True, sharey=True, squeeze=False)
    panels = dict(zip(optimizers, grid.flat, strict=False))
    for optimizer, axes in panels.items():
        logarithmic(axes, 10.0**-DECADES, 1.0)
        axes.set(xscale="log", xlim=(BEGIN, max(10 * BEGIN, int(found[0].steps[-1]))), title=optimizer_label(optimizer))
        axes.xaxis.set_minor_locator(NullLocator())
    for curve, rule in zip(found, rules_of(outcomes), strict=True):
        axes, of = panels[curve.optimizer], LOOKS[curve.convention]
        steps, values = thinned(curve)
        axes.plot(steps, np.maximum(np.abs(values), 10.0 ** -(DECADES + 1)), **of)
        level = rule.cycle_amplitude()
        if level:
            axes.axhline(level, **LEVEL)
    looks = {**LOOKS, "level by theory": LEVEL}
    handles = [Line2D([], [], label=name, **of) for name, of in looks.items()]
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles))
    figure.supxlabel("step", fontsize=9)
    figure.supylabel(f"|weight| under L2 {number(found[0].strength)}", fontsize=9)
    return figure
