"""The records of `jaxsparse decay` as a figure reads them, and the axes that its figures share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from jaxsparse import theory
from jaxsparse.checks import InvalidInput
from jaxsparse.regularizers import CoupledL2
from jaxsparse.rules import KNOWN
from jaxsparse.rules.law import Law

DECADES = 12
"""Powers of ten below 1 that are shown at most."""


def table_of(folder: Path, name: str) -> pa.Table:
    """A table of a folder of `jaxsparse decay`: `map`, or `curves` or `outcomes` of `decay`, `zero-gradient` and so on.

    Raises:
      InvalidInput: where it is not there or can't be read.
    """
    path = folder / f"{name}.parquet"
    try:
        return pyarrow.parquet.read_table(path)
    except (OSError, pa.ArrowInvalid):
        raise InvalidInput(f"folder must be one of `jaxsparse decay` with {path.name}, got {str(folder)!r}") from None


class Curve(NamedTuple):
    """The weight of one setting over the steps."""

    optimizer: str
    regularizer: str
    strength: float
    convention: str
    steps: np.ndarray
    values: np.ndarray


def curves_of(table: pa.Table, seed: int = 0) -> list[Curve]:
    """The curves of one seed, in the table's order."""
    columns = {name: table[name].to_numpy() for name in table.column_names}
    chosen = columns["seed"] == seed
    *settings, steps, values = (columns[name][chosen] for name in (*Curve._fields[:4], "step", "value"))
    begins = np.flatnonzero(steps == 0)
    return [
        Curve._make([*(setting[begin] for setting in settings), steps[begin:end], values[begin:end]])
        for begin, end in zip(begins, [*begins[1:], len(steps)], strict=True)
    ]


class Rule(NamedTuple):
    """What theory needs to know of a curve under L2."""

    optimizer: str
    strength: float
    convention: str
    learning_rate: float
    constants: Mapping[str, float]

    def predict(self, init: float, steps: int) -> np.ndarray:
        """`theory.predict`: the weight after 0 .. steps steps, nan where that is not known."""
        rule = {"learning_rate": self.learning_rate, "convention": self.convention, **self.constants}
        return theory.predict(self.optimizer, CoupledL2(self.strength), init=init, steps=steps, **dict[str, Any](rule))

    def cycle_amplitude(self) -> float | None:
        """`theory.cycle_amplitude`; none for rules that it does not hold for."""
        rule = KNOWN.get(self.optimizer)
        if rule is None or rule.law is None:
            return None
        law = rule.law(self.convention, self.learning_rate, self.strength, self.constants, 1.0)
        if not (isinstance(law, Law) and law.has_cycle):
            return None
        return theory.cycle_amplitude(self.learning_rate, self.strength, eps=self.constants["eps"], b1=law.b1)


def rules_of(outcomes: pa.Table, seed: int = 0) -> list[Rule]:
    """The rules of one seed, in the order of `curves_of`."""
    chosen = [row for row in outcomes.to_pylist() if row["seed"] == seed]
    names = Rule._fields[:-1]
    return [Rule._make([*(row[name] for name in names), dict(row["constants"])]) for row in chosen]


def logarithmic(axes: Axes, bottom: float, top: float) -> None:
    """A logarithmic axis of |weight| with few ticks."""
    axes.set_yscale("log")
    axes.set_ylim(bottom, 2 * top)
    axes.yaxis.set_major_locator(LogLocator(numticks=5))
    axes.yaxis.set_minor_locator(NullLocator())


def thinned(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values for a logarithmic axis of steps: at most 120 for each power of ten."""
    _, first = np.unique(np.floor(120 * np.log10(np.maximum(curve.steps, 0.5))), return_index=True)
    return curve.steps[first[1:]], curve.values[first[1:]]


def bottom_of(curves: Sequence[Curve]) -> float:
    """Where the axis of |weight| ends: a decade below the smallest level that a weight stays at for a while."""
    levels = [float(np.median(np.abs(curve.values[-len(curve.values) // 5 :]))) for curve in curves]
    return max(10.0**-DECADES, 10 ** (np.floor(np.log10(max(min(levels), 1e-300))) - 1))
