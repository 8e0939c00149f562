"""One weight without a loss gradient under every rule, alone with L2 and with AdamW's decay."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.findings import Findings, read_rows, write_rows
from experiments.today.cells import RATES
from jaxsparse import decay
from jaxsparse.decay import Plan

STEPS, STRENGTH, RATE = 200_000, 1e-3, 1e-3
"""RATE: of every rule in the first rows; in the others each has its own (`RATES`)."""
TABLE = "today-weight.parquet"
COLUMNS = ("optimizer", "regularizer", "learning_rate", "first", "last", "oscillates")


def _followed(rule: str, rate: float) -> list[dict[str, Any]]:
    plan = Plan((rule,), ("l2", "wd-lr"), (STRENGTH,), "zero-gradient", 1.0, STEPS, learning_rate=rate)
    return [
        {
            "optimizer": row["optimizer"],
            "regularizer": row["regularizer"],
            "learning_rate": rate,
            "first": row["steps_to_0.001"],
            "last": row["level"],
            "oscillates": int(row["oscillates"]),
        }
        for row in decay.follow(plan).outcomes.to_pylist()
    ]


def follow(root: Path) -> None:
    """Simulates every rule at one rate and at its own, and keeps what came out."""
    path = root / TABLE
    if not path.exists():
        rates = [(rule, rate) for rule, own in RATES.items() for rate in dict.fromkeys((RATE, own))]
        write_rows(path, [row for rule, rate in rates for row in _followed(rule, rate)])


def read(root: Path) -> Sequence[dict[str, Any]]:
    """The rows that were kept."""
    return read_rows(root / TABLE)


FOUND = Findings("today-weight", COLUMNS, read)
