"""The command `jaxsparse decay`: its flags and what it prints."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.csv
import tyro

from jaxsparse.decay.folder import write
from jaxsparse.decay.following import COLUMNS, THRESHOLDS, follow
from jaxsparse.decay.plan import Plan
from jaxsparse.grid import keep_compiled
from jaxsparse.report import decay_table, table


@dataclass(frozen=True)
class Decay:
    """Follow one weight under hardly any gradient: how fast does each optimizer with each regularizer kill it?

    Without any flag: seven optimizers x {L2, decoupled weight decay, AdamW's} x five strengths, after Mehta et al.
    2019, Figure 4. Shows a table and draws figures; the same command again shows them again.
    """

    plan: tyro.conf.OmitArgPrefixes[Plan] = field(default_factory=Plan)
    csv: bool = False
    """print the curves as CSV instead, and write nothing unless --out is given"""
    out: Path | None = None
    """folder of the results [runs/decay]"""


def command(flags: Decay, _: str) -> int:
    """The command's action; its exit status."""
    keep_compiled()
    if flags.csv:
        curves = (follow(flags.plan) if flags.out is None else write(flags.plan, flags.out)).curves
        options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
        print(",".join(COLUMNS), flush=True)
        pyarrow.csv.write_csv(curves, sys.stdout.buffer, options)
        return 0
    out = flags.out or Path("runs/decay")
    found = write(flags.plan, out)
    console = table.console()
    console.print(decay_table.terminal(found.outcomes, THRESHOLDS))
    print(f"figures  {out / 'figures'}\ncurves   {out / 'decay-curves.parquet'}")
    return 0
