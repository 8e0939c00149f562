"""Findings: figures that are not those of one training, and the tables on disk that hold them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from jaxsparse import records


@dataclass(frozen=True)
class Findings:
    """What is found besides the figures of each training; kept as `SCALE-NAME.csv`."""

    name: str
    columns: tuple[str, ...]
    """numbers, and names that are no numbers"""
    read: Callable[[Path], Sequence[Mapping[str, Any]]]
    """from the folder of all trainings; nothing where nothing was found yet"""


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a Parquet file; none where there is no file."""
    return pyarrow.parquet.read_table(path).to_pylist() if path.exists() else []


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows, all with the same columns, as a Parquet file; its folder is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(pa.Table.from_pylist(list(rows)), sink)
    records.write_bytes(path, sink.getvalue().to_pybytes())
