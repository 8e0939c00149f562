"""Pictures of what pruning costs: accuracy against sparsity, and error against what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from experiments import papers
from experiments.measured import Measured
from experiments.prunings import found
from jaxsparse.checks import InvalidInput
from jaxsparse.grid import Cell
from jaxsparse.report.figures import NEUTRAL, in_style
from jaxsparse.rules import INK


@dataclass(frozen=True)
class Series:
    """Prunings of the same networks by one method, and how they are drawn."""

    label: str
    cells: Sequence[Cell]
    method: str
    amounts: Sequence[float]
    tuning: str
    color: str = INK
    marker: str = "o"
    dashes: str = "-"

    def named(self, amount: float) -> str:
        """A row's name; of what is dead by itself, only the threshold could be told."""
        return self.label if self.method == "implicit" else f"{self.label} {amount:g}"

    def figures(self, measured: Measured, *columns: str) -> np.ndarray:
        """`[columns, amounts, networks]`; nan where empty.

        Raises:
          InvalidInput: where one of the prunings is missing.
        """
        rows = [found(measured, self.cells, self.method, amount, self.tuning) for amount in self.amounts]
        if not all(rows):
            raise InvalidInput(f"out must hold all prunings by {self.method} ({self.tuning})")
        values = [[[row[name] for row in each] for each in rows] for name in columns]
        return np.asarray(values, float)

    def parameters_left(self, measured: Measured) -> np.ndarray:
        """Percent `[amounts, networks]`, after the removal of whole units where such went."""
        sparsity, parameters, left = self.figures(measured, "sparsity", "parameters", "parameters_left")
        return np.where(np.isnan(left), 100 - sparsity, 100 * left / parameters)


def _draw(axes: Axes, x: np.ndarray, y: np.ndarray, series: Series, label: str) -> None:
    """Means `[amounts]` of values `[amounts, networks]` as a line, and bars from the lowest to the highest."""
    mean = y.mean(1)
    bars = [mean - y.min(1), y.max(1) - mean]
    axes.errorbar(
        x.mean(1),
        mean,
        yerr=bars,
        color=series.color,
        marker=series.marker,
        markersize=5.5,
        linestyle=series.dashes,
        elinewidth=0.8,
        label=label,
    )


def _level(
    axes: Axes,
    y: float,
    text: str,
    above: bool = True,
    color: str = INK,
    linestyle: str = "-",
    linewidth: float = 0.8,
) -> None:
    """A horizontal line with a text at its right end."""
    axes.axhline(y, color=color, linestyle=linestyle, linewidth=linewidth)
    where, va = ("axes fraction", "data"), "bottom" if above else "top"
    axes.annotate(text, (1, y), xycoords=where, ha="right", va=va, fontsize=7.5, color=color)


def _draw_printed(axes: Axes, method: str) -> None:
    """What the paper prints of a method, as dotted lines."""
    rows = [row for row in papers.rows("batra2024_text") if row["method"].startswith(method)]
    for row in rows:
        value = float(row["value"])
        if row["metric"] == "accuracy":
            _level(axes, value, f"paper: {value:g} %", color=NEUTRAL, linestyle=":", linewidth=1)
        elif row["metric"] == "sparsity":
            axes.axvline(value, color=NEUTRAL, linestyle=":", linewidth=1)
            axes.annotate(
                f"paper: {value:g} %",
                (value, 0),
                xycoords=("data", "axes fraction"),
                rotation=90,
                ha="right",
                va="bottom",
                fontsize=7.5,
                color=NEUTRAL,
            )


@in_style
def accuracy(measured: Measured, published: Series, own: Series, printed: str) -> Figure:
    """Accuracy against the pruned share of all parameters: at once, and fine-tuned in two ways.

    Args:
      published: fine-tuned with the paper's protocol.
      own: the same prunings, fine-tuned as the training ended.
      printed: how the paper names the method, for what it prints.
    """
    figure = Figure(figsize=(8, 3.8))
    axes = figure.subplots()
    x, before, at_once, tuned = published.figures(
        measured, "sparsity", "accuracy_before", "accuracy_at_once", "accuracy"
    )
    _draw(axes, x, at_once, Series("", (), "", (), "", NEUTRAL, "x", ":"), "pruned, not fine-tuned")
    _draw(axes, x, tuned, published, published.label)
    (again,) = own.figures(measured, "accuracy")
    _draw(axes, x, again, own, own.label)
    _level(axes, before.mean(), f"before pruning: {before.mean():.1f} %")
    _draw_printed(axes, printed)
    axes.set_xlim(left=0)
    axes.set_ylim(0, 104)
    axes.set_xlabel("pruned share of all parameters (%)")
    axes.set_ylabel("test accuracy (%)")
    figure.legend(loc="outside upper left", ncols=3)
    return figure


@in_style
def tradeoff(measured: Measured, series: Sequence[Series]) -> Figure:
    """Test error against the parameters that are left; mean, lowest and highest over the networks.

    Where whole units went, what is left is counted after their removal from all arrays; else it is what is not zero.
    The line is the error of the first series before pruning.
    """
    figure = Figure(figsize=(8, 4.4))
    axes = figure.subplots()
    before = 100 - series[0].figures(measured, "accuracy_before").mean()
    _level(axes, before, f"before pruning: {before:.1f} %", above=False)
    for one in series:
        (accuracies,) = one.figures(measured, "accuracy")
        _draw(axes, one.parameters_left(measured), 100 - accuracies, one, one.label)
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=1, linscale=0.5)
    axes.set_ylim(0, 100)
    axes.set_xlim(110, 5)
    axes.xaxis.set_major_locator(FixedLocator([100, 50, 20, 10, 5]))
    axes.yaxis.set_major_locator(FixedLocator([0, 1, 2, 5, 10, 20, 50, 90]))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("parameters left (%)")
    axes.set_ylabel("test error (%)")
    figure.legend(loc="outside right upper")
    return figure
