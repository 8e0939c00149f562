"""What `grid` and `train` have in common: training what was declared, with a table that fills in, and a report."""

from __future__ import annotations

import contextlib
import shlex
import sys
from pathlib import Path

from jaxsparse import data, grid, loggers, records, report, stopping
from jaxsparse.checks import name_of
from jaxsparse.config import Run
from jaxsparse.report import live


def train(
    declaration: grid.Declaration,
    out: Path,
    command: str,
    trainer: grid.Trainer,
    log: tuple[str, ...],
    grows: bool,
    reports: bool = True,
) -> int:
    """Trains, shows and reports a grid; 1 where a cell failed."""
    grid.keep_compiled()
    logger = loggers.of_cells(log, out)
    with contextlib.closing(grid.run(declaration, out, trainer, grows)) as steps:
        if not grid.writes():
            return int(any(end.status == "failed" for step in steps for end in step.ended))
        try:
            live.follow(grid.logged(steps, logger) if log else steps, declaration, out)
        except BaseException:  # whatever it is, what is being trained is kept
            stopping.ask()
            raise
    if reports:
        page, shown = report.write(out, command), shlex.quote(str(out))
        print(f"\nreport   {page}\nfigures  {out / 'figures'}\nresults  jaxsparse results {shown} --csv")
    failed = [name for name, status in records.finished(out / "cells").items() if status == "failed"]
    if failed:
        message = records.describe(out / "cells" / failed[0])["message"].splitlines()[0]
        print(f"jaxsparse: {len(failed)} cells failed, {failed[0]} with {message}", file=sys.stderr)
    return 1 if failed else 0


def called(run: Run) -> str:
    """What a folder is called where nothing else is said."""
    return f"{data.called(run.data)}-{name_of(run.model).replace(':', '.')}"
