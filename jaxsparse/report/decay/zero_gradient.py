"""Weights that nothing but L2 acts on: Yaguchi et al. 2018, Figure 4 and Theorem III.2."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from jaxsparse.report.decay.curves import DECADES, Curve, Rule, curves_of, logarithmic, rules_of
from jaxsparse.report.figures import NEUTRAL, in_style, look
from jaxsparse.report.table import number, optimizer_label
from jaxsparse.rules import INK

BROAD = {"linewidth": 4.0, "alpha": 0.5, "solid_capstyle": "butt"}
"""Lines of what was simulated, under thin ones of theory."""
THIN = {"color": INK, "linewidth": 0.9}
DASHED = {**THIN, "linestyle": (0, (4, 2))}
WINDOW = 200
"""Steps that a root mean square is taken over."""


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
    logarithmic(left, 10.0**-DECADES, 1.0)
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


def _color(optimizer: str) -> str:
    """An optimizer's, but grey where ink would not let theory's line be seen."""
    color = look(optimizer).color
    return NEUTRAL if color == INK else color


def _handle(style: Mapping[str, Any], label: str) -> Line2D:
    return Line2D([], [], label=label, **style)


def _draw_fall(axes: Axes, chosen: Iterable[tuple[Curve, Rule]]) -> None:
    """Weights from the start on, on a linear axis, with the path that theory predicts as far as it does."""
    handles: list[Line2D] = []
    for curve, rule in chosen:
        style = {**BROAD, "color": _color(curve.optimizer)}
        axes.plot(curve.steps, curve.values, **style)
        axes.plot(rule.predict(float(curve.values[0]), int(curve.steps[-1])), **THIN)
        handles.append(_handle(style, f"{optimizer_label(curve.optimizer)}, simulated"))
    axes.legend(handles=[*handles, _handle(THIN, "theory")], loc="upper right")
    axes.set(xlabel="step", ylabel="weight")


def _draw_oscillation(axes: Axes, curve: Curve, rule: Rule) -> None:
    """A weight from its first change of sign on, its running root mean square, and the amplitude that theory has."""
    begin = int(np.argmax(curve.values * curve.values[0] < 0))
    steps, values = curve.steps[begin:], curve.values[begin:]
    color, unit = _color(curve.optimizer), 10.0 ** np.floor(np.log10(np.abs(values).max()))
    axes.plot(steps, values / unit, color=color, linewidth=0.6)
    style = {**BROAD, "color": _color("sgd"), "alpha": 0.9, "linewidth": 2.5}
    size = np.sqrt(np.convolve(values**2, np.full(WINDOW, 1 / WINDOW), "valid"))
    axes.plot(steps[WINDOW // 2 :][: len(size)], size / unit, **style)
    amplitude = rule.cycle_amplitude()
    assert amplitude is not None
    for level in (amplitude, -amplitude):
        axes.axhline(level / unit, **DASHED)
    handles = [
        _handle({"color": color, "linewidth": 0.9}, f"{optimizer_label(curve.optimizer)}, simulated"),
        _handle(style, f"rms over {WINDOW} steps"),
        _handle(DASHED, f"theory: ±{number(float(f'{amplitude:.1e}'))}"),
    ]
    top = 1.1 * float(np.abs(values).max()) / unit
    axes.set(
        title=f"{optimizer_label(curve.optimizer)} near zero",
        xlabel="step",
        xlim=(steps[0], steps[-1]),
        ylim=(-top, top),
    )
    axes.set_ylabel(f"weight / $10^{{{round(np.log10(unit))}}}$")
    axes.legend(handles=handles, loc="upper left", handlelength=1.8)


@in_style
def oscillation(curves: pa.Table, outcomes: pa.Table) -> Figure:
    """Adam beside SGD with momentum: left the fall, with theory's; right how Adam oscillates, with theory's amplitude.

    Yaguchi et al. 2018, Figure 4.
    """
    both = zip(curves_of(curves), rules_of(outcomes), strict=True)
    chosen = {curve.optimizer: (curve, rule) for curve, rule in both if curve.optimizer in ("sgd", "adam")}
    figure = Figure(figsize=(8, 3.6))
    left, right = figure.subplots(1, 2)
    _draw_fall(left, chosen.values())
    left.set_title(f"L2 {number(chosen['adam'][1].strength)}, no gradient of the loss")
    _draw_oscillation(right, *chosen["adam"])
    return figure
