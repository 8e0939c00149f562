"""`jaxsparse report`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jaxsparse import records, report


@dataclass(frozen=True)
class Report:
    """Draw the figures and write the report page of a grid."""

    dir: Annotated[Path, tyro.conf.Positional]
    """folder of a grid"""


def command(flags: Report, line: str) -> int:
    """Writes it; 1 where a run is not whole."""
    print(report.write(flags.dir, line))
    return int(records.is_damaged(flags.dir))
