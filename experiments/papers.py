"""What the papers print: their tables and claims, as they are in `papers/`, a row per printed figure."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

FOLDER = Path(__file__).parent / "papers"


@dataclass(frozen=True)
class Setting:
    """What was trained, in the paper's own words."""

    network: str
    dataset: str
    optimizer: str
    regularizer: str
    strength: float
    batch: int
    activation: str = "ReLU"
    setting: str = ""
    """what else differs: where gamma and beta start, and how fast they learn"""


@dataclass(frozen=True)
class Printed:
    """One printed figure."""

    setting: Setting
    metric: str
    criterion: str
    phase: str
    """`pre-pruning` or `post-pruning` where the paper tells them apart"""
    layer: str
    """`C1`, .., `all conv`, or nothing"""
    value: str
    unit: str
    method: str
    """whose: the paper's own, or another's that it is compared with"""


@lru_cache
def rows(name: str) -> tuple[dict[str, str], ...]:
    """The rows of `papers/NAME.csv`."""
    with (FOLDER / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


_DEFAULTS = {"optimizer": "Adam", "regularizer": "L2", "strength": "1e-4", "batch_size": "40"}
UNSAID: dict[str, dict[str, str]] = {"mehta2019": _DEFAULTS, "mehta2018": _DEFAULTS}
"""What a table leaves blank, by paper. Mehta et al. 2019, section 5: the defaults "unless otherwise specified". That
they hold for SGD in table 4, for the strength in section 3's remark on the layer C6, and for the summary of 2018, is
our reading."""


def _printed(row: dict[str, str]) -> Printed:
    row = {**row, **{name: value for name, value in UNSAID[row["paper"]].items() if not row[name]}}
    setting = Setting(
        network=row["network"],
        dataset=row["dataset"],
        optimizer=row["optimizer"],
        regularizer=row["regularizer"],
        strength=float(row["strength"]),
        batch=int(row["batch_size"]),
        activation=row["activation"],
        setting=row["setting"],
    )
    columns = ("metric", "criterion", "phase", "layer", "value", "unit", "method")
    return Printed(setting, *(row[name] for name in columns))


OWN = "this paper"


def printed(table: str) -> list[Printed]:
    """What a table prints of the paper's own networks; rows quoted from other papers are left out."""
    return [_printed(row) for row in rows(table) if row["method"] == OWN]


def quoted(table: str) -> list[Printed]:
    """What a table quotes from other papers; of their settings, only network and data are known."""
    return [_printed(row) for row in rows(table) if row["method"] != OWN]


def settings(table: str) -> list[Setting]:
    """What was trained for a table, in its order."""
    return list(dict.fromkeys(figure.setting for figure in printed(table)))


def claims() -> tuple[dict[str, str], ...]:
    """Every claim of the five papers: `id paper section kind claim table_or_figure check`."""
    return rows("claims")
