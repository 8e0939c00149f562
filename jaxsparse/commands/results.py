"""`jaxsparse results`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jaxsparse import records, report


@dataclass(frozen=True)
class Results:
    """Show what every cell of a grid ended with."""

    dir: Annotated[Path, tyro.conf.Positional]
    """folder of a grid, or one that holds several"""
    csv: bool = False
    """one row per cell as CSV instead of the table"""


def command(flags: Results, _: str) -> int:
    """Prints it; 1 where a run is not whole."""
    report.print_results(flags.dir, csv=flags.csv)
    return int(records.is_damaged(flags.dir))
