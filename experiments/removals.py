"""What the removal of whole units (`js.shrink`) makes of pruned networks: their size, and their speed on this machine.

It does not depend on what the remaining weights are, so it is done without fine-tuning.

    ROOT/removals.parquet    a row for each pruning
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from flax import nnx

from experiments.findings import Findings, read_rows, write_rows
from experiments.measured import Measured
from experiments.prunings import Pruning, methods, name_of
from experiments.studies import place
from jaxsparse import data, export, pruning, records
from jaxsparse.shrinking import shrink
from jaxsparse.shrinking.costs import cost, stopwatch

FILE = "removals.parquet"
BATCHES = (1, 64)
"""Images in a call that is timed."""
ROUNDS, CALLS = 15, 5
"""Rounds of the two networks in turn, and calls of each in a round."""
COLUMNS = (
    *("place", "method", "amount", "tuning", "difference"),
    *("parameters", "parameters_left", "macs", "macs_left"),
    *(f"milliseconds{left}_{batch}" for batch in BATCHES for left in ("", "_left")),
)
"""`difference`: the largest between the outputs of the pruned and the smaller network. Milliseconds are medians."""


def _milliseconds(large: Any, small: Any, image: jax.Array, batch: int) -> tuple[float, float]:
    watches, times = [stopwatch(one, image, batch) for one in (large, small)], ([], [])
    for _ in range(ROUNDS):
        for seconds, kept in zip(watches, times, strict=True):
            seconds()  # the other network has just had the caches
            kept.extend(1e3 * seconds() for _ in range(CALLS))
    before, after = map(statistics.median, times)
    return before, after


def _row(wanted: Pruning, root: Path) -> dict[str, Any]:
    cell, model = wanted.cell, export.load(root / place(wanted.cell))
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    params = nnx.as_pure(params)
    masks = methods(cell.run, jax.random.key(cell.seed))[wanted.method](params, wanted.asked)
    large: Any = nnx.merge(graph, pruning.apply(params, masks), rest, copy=True)
    dataset = data.load(cell.run.data, cell.run.pixels)
    image = data.preprocess(dataset, dataset.test.images[:8])
    small, report = shrink(large, image, pruning.dead_units(masks))
    costs = [cost(each, image, batches=()) for each in (large, small)]
    times = {batch: _milliseconds(large, small, image[:1], batch) for batch in BATCHES}
    return {
        "place": place(cell),
        "method": wanted.method,
        "amount": wanted.amount,
        "tuning": wanted.tuning,
        "difference": report.difference,
        **{f"parameters{left}": each.parameters for left, each in zip(("", "_left"), costs, strict=True)},
        **{f"macs{left}": each.macs for left, each in zip(("", "_left"), costs, strict=True)},
        **{
            f"milliseconds{left}_{batch}": value
            for batch, pair in times.items()
            for left, value in zip(("", "_left"), pair, strict=True)
        },
    }


def make(wanted: Sequence[Pruning], root: Path) -> None:
    """Removes and measures what has not been, one after another, so that nothing else runs while time is taken."""
    rows = read_rows(root / FILE)
    done = {name_of(row) for row in rows}
    for one in wanted:
        if one.name in done or records.describe(root / place(one.cell))["status"] != "done":
            continue
        rows.append(_row(one, root))
        write_rows(root / FILE, rows)


REMOVALS = Findings("removals", COLUMNS, lambda root: read_rows(root / FILE))


def changes(measured: Measured, wanted: Pruning) -> list[str]:
    """Parameters, multiplications and milliseconds before and after: `52,410 → 19,682`; `-` where not measured."""
    rows = [row for row in measured.findings.get(REMOVALS.name, ()) if name_of(row) == wanted.name]
    columns = [
        ("parameters", "parameters_left", ",.0f"),
        ("macs", "macs_left", ",.0f"),
        *((f"milliseconds_{batch}", f"milliseconds_left_{batch}", ".2f") for batch in BATCHES),
    ]
    return [f"{rows[0][a]:{form}} → {rows[0][b]:{form}}" if rows else "-" for a, b, form in columns]
