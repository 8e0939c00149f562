"""The table of `jaxsparse decay`: a row per optimizer, regularizer and strength; medians over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from rich import box
from rich.table import Table
from rich.text import Text

from jaxsparse.report.table import PLACEHOLDER, REGULARIZERS, number, optimizer_label

CAPTION = "medians over seeds; · never; level: largest |w| in the last tenth; oscillates: w changes its sign there"


def _steps(times: Sequence[int | None]) -> Text:
    """`1,493`; a placeholder where the median weight never falls that low."""
    median = statistics.median(math.inf if time is None else time for time in times)
    return Text(PLACEHOLDER, "dim") if math.isinf(median) else Text(f"{median:,.0f}")


def _rounded(value: float) -> str:
    """Two significant digits."""
    return number(float(f"{value:.1e}"))


def _oscillation(rows: Sequence[dict[str, Any]]) -> Text:
    """`± 2.3e-4`, or nothing where most seeds don't oscillate."""
    amplitudes = [row["amplitude"] for row in rows if row["oscillates"]]
    return Text(f"± {_rounded(statistics.median(amplitudes))}" if 2 * len(amplitudes) > len(rows) else "")


def terminal(outcomes: pa.Table, thresholds: Sequence[float]) -> Table:
    """The table for a terminal 100 columns wide, a section per optimizer and regularizer."""
    table = Table(box=box.HORIZONTALS, caption=CAPTION)
    for name in ("optimizer", "regularizer"):
        table.add_column(name, no_wrap=True)
    table.add_column("strength", justify="right")
    for threshold in thresholds:
        table.add_column(f"steps to\n|w| < {number(threshold)}", justify="right", no_wrap=True)
    for name in ("level", "oscillates"):
        table.add_column(name, justify="right", no_wrap=True)
    groups: dict[tuple[str, str, float], list[dict[str, Any]]] = {}
    for row in outcomes.to_pylist():
        groups.setdefault((row["optimizer"], row["regularizer"], row["strength"]), []).append(row)
    before: tuple[str, str] | None = None
    for (optimizer, regularizer, strength), rows in groups.items():
        first, before = before != (optimizer, regularizer), (optimizer, regularizer)
        if first:
            table.add_section()
        table.add_row(
            Text(optimizer_label(optimizer) if first else "", "bold"),
            Text(REGULARIZERS.get(regularizer, regularizer) if first else ""),
            "" if regularizer == "none" else number(strength),
            *(_steps([row[f"steps_to_{threshold:g}"] for row in rows]) for threshold in thresholds),
            _rounded(statistics.median(row["level"] for row in rows)),
            _oscillation(rows),
        )
    return table
