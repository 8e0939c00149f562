"""Figures of Retsinas et al. 2020: trade-off curves, weights, layers, courses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from experiments.measured import Measured
from experiments.retsinas2020.networks import lists, networks, numbers, values
from jaxsparse.checks import InvalidInput
from jaxsparse.grid import Cell
from jaxsparse.report.figures import in_style
from jaxsparse.thresholding import BINS

Lines: TypeAlias = Mapping[str, Sequence[Sequence[Cell]]]
"""By name: trainings, each of them one cell a seed."""

LOOKS = (
    ("#000000", "s", "-"),
    ("#0072B2", "o", "--"),
    ("#D55E00", "^", "-"),
    ("#009E73", "D", ":"),
    ("#CC79A7", "v", "-."),
)
"""Colour, marker and line of each name in turn; nothing is told by colour alone."""


def _require(measured: Measured, lines: Lines) -> None:
    for name, trainings in lines.items():
        for cells in trainings:
            if not networks(measured, cells):
                raise InvalidInput(f"run folder must hold every training of {name}")


def _said(parameters: float) -> str:
    return f"{parameters / 1e6:g} M" if parameters >= 1e6 else f"{parameters / 1e3:g} k"


@in_style
def trade_off(measured: Measured, lines: Lines) -> Figure:
    """Test error by the parameters that are not zero, a line a name; bars are the deviation over seeds.

    Raises:
      InvalidInput: where one of the trainings is missing; so do all figures here.
    """
    _require(measured, lines)
    figure = Figure(figsize=(6.2, 3.8))
    axes = figure.subplots()
    for (name, trainings), (color, marker, line) in zip(lines.items(), LOOKS, strict=False):
        left = [float(np.mean(values(measured, cells, "params_left"))) for cells in trainings]
        errors = [values(measured, cells, "test_error_zeroed") for cells in trainings]
        order = np.argsort(left)
        means, spreads = (np.asarray([float(one(error)) for error in errors])[order] for one in (np.mean, _spread))
        axes.errorbar(
            np.asarray(left)[order], means, spreads, color=color, marker=marker, linestyle=line, label=name, capsize=2
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _said(value)))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: _said(value) if str(value)[0] in "25" else ""))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("parameters that are not zero")
    axes.set_ylabel("test error (%)")
    axes.legend()
    return figure


def _spread(values: np.ndarray) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


@in_style
def weights(measured: Measured, lines: Lines) -> Figure:
    """Histograms of the weights of all convolutions in standard deviations of their layer, before any is zeroed, with
    the normal density; a panel a name."""
    _require(measured, lines)
    figure = Figure(figsize=(3.6 * len(lines), 2.9))
    middles = (BINS[1:] + BINS[:-1]) / 2
    panels = figure.subplots(1, len(lines), sharey=True, squeeze=False)[0]
    for axes, (name, trainings) in zip(panels, lines.items(), strict=True):
        axes.bar(middles, lists(measured, trainings[0], "histogram").mean(0), BINS[1] - BINS[0], color="#0072B2")
        axes.plot(middles, _normal(middles), color="#D55E00", linestyle="--", label="normal")
        zero = values(measured, trainings[0], "sparsity_weights").mean()
        axes.set_title(name + (f": {zero:.1f} % become zero" if zero else ""))
        axes.set_xlabel("weight (standard deviations of its layer)")
        axes.legend()
    figure.axes[0].set_ylabel("% of weights")
    return figure


GROUPS = {"layer1": 2, "layer2": 6, "layer3": 12, "layer4": 15}
"""Last block of each group of ResNet-50, as PyTorch's model zoo calls the groups."""
EXAMPLE = 4
"""The paper's layer2_1, if it counts from zero."""


@in_style
def blocks(measured: Measured, lines: Lines) -> Figure:
    """Histograms of the weights of the last convolutions of ResNet-50's blocks in standard deviations of their layer:
    the last block of each group, and one beside the normal density; means over seeds."""
    _require(measured, lines)
    ((cells,),) = lines.values()
    shares = lists(measured, cells, "histogram_blocks").mean(0).reshape(-1, len(BINS) - 1)
    middles = (BINS[1:] + BINS[:-1]) / 2
    figure = Figure(figsize=(7.2, 2.9))
    every, one = figure.subplots(1, 2, sharey=True)
    for (name, block), (color, _, line) in zip(GROUPS.items(), LOOKS, strict=False):
        every.plot(middles, shares[block], color=color, linestyle=line, label=name)
    one.bar(middles, shares[EXAMPLE], BINS[1] - BINS[0], color="#0072B2")
    one.plot(middles, _normal(middles), color="#D55E00", linestyle="--", label="normal")
    one.set_title("layer2, second block")
    for axes in (every, one):
        axes.set_xlabel("weight (standard deviations of its layer)")
        axes.legend()
    every.set_ylabel("% of weights")
    return figure


def _normal(middles: np.ndarray) -> np.ndarray:
    """Percent of normal weights in each bin."""
    return 100 * (BINS[1] - BINS[0]) * np.exp(-(middles**2) / 2) / np.sqrt(2 * np.pi)


def _short(name: str) -> str:
    """`outer/2/kernel` to `outer 2`."""
    return " ".join(name.removesuffix("/kernel").removesuffix("/linear").split("/"))


def _draw_lines(axes: Axes, measured: Measured, lines: Lines, x: np.ndarray, metric: str) -> None:
    for (name, trainings), (color, marker, line) in zip(lines.items(), LOOKS, strict=False):
        found = lists(measured, trainings[0], metric)
        axes.plot(x, found.mean(0), color=color, marker=marker, linestyle=line, label=name, markersize=4)
    axes.legend()


@in_style
def by_layer(measured: Measured, lines: Lines) -> Figure:
    """Percent of zeros in each layer, in the order of the network; dense networks are left out."""
    lines = {name: trainings for name, trainings in lines.items() if name != "dense"}
    _require(measured, lines)
    names = str(networks(measured, next(iter(lines.values()))[0])[0]["layer_names"]).split()
    figure = Figure(figsize=(7, 3.6))
    axes = figure.subplots()
    _draw_lines(axes, measured, lines, np.arange(len(names)), "layer_zero")
    axes.set_xticks(np.arange(len(names)), [_short(name) for name in names], rotation=45, ha="right")
    axes.set_ylabel("weights that are zero (%)")
    return figure


@in_style
def courses(measured: Measured, lines: Lines) -> Figure:
    """Test error over the epochs, mean over seeds."""
    _require(measured, lines)
    figure = Figure(figsize=(6.2, 3.4))
    axes = figure.subplots()
    epochs = numbers(networks(measured, next(iter(lines.values()))[0])[0]["epochs"])
    _draw_lines(axes, measured, lines, epochs, "errors")
    axes.set_xlabel("epoch")
    axes.set_ylabel("test error (%)")
    axes.set_ylim(bottom=0)
    return figure


@in_style
def bounds(measured: Measured, lines: Lines) -> Figure:
    """Mean bound (weighted by the layers' parameters) over the epochs, every seed."""
    _require(measured, lines)
    figure = Figure(figsize=(5.2, 3.2))
    axes = figure.subplots()
    for (name, trainings), (color, marker, line) in zip(lines.items(), LOOKS, strict=False):
        epochs = numbers(networks(measured, trainings[0])[0]["epochs"])
        for seed, course in enumerate(lists(measured, trainings[0], "bound_course")):
            label = name if seed == 0 else None
            axes.plot(epochs, course, color=color, marker=marker, linestyle=line, markersize=4, label=label)
    axes.set_xlabel("epoch")
    axes.set_ylabel("mean bound (standard deviations)")
    axes.set_ylim(bottom=0)
    axes.legend()
    return figure
