"""Run the papers' experiments again.

python -m experiments list
python -m experiments mehta2019 table1 --scale embedded
python -m experiments claims --paper mehta2019 --csv
"""

from __future__ import annotations

import csv
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from experiments import claims, measured, mehta2018, mehta2019, mehta2019_claims, papers, studies
from experiments.entries import Entry, cells, findings
from experiments.measured import Measured
from experiments.scales import SCALES, Scale
from jaxsparse import data, grid, records
from jaxsparse.config import InvalidInput, require, require_choice
from jaxsparse.report import table as style

PAPERS = {"mehta2019": mehta2019.ENTRIES, "mehta2018": mehta2018.ENTRIES}
RULES = {**mehta2019_claims.RULES, **mehta2018.RULES}
MEASURED = Path(__file__).parent / "measured"


@dataclass(frozen=True)
class Reproduce:
    """Train what an entry needs, as far as it is not there yet, and show it beside the paper's figures."""

    paper: Annotated[str, tyro.conf.Positional]
    """mehta2019 or mehta2018"""
    entry: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """what `list` shows; without any, all of the paper"""
    scale: str = "embedded"
    """embedded (small, data that ship with the package) or paper (the paper's own)"""
    out: Path = Path("runs/experiments")
    """folder of the trainings"""


@dataclass(frozen=True)
class Claims:
    """Say of every claim of the papers whether the trainings show it."""

    paper: str | None = None
    """one paper's only"""
    csv: bool = False
    """columns id paper claim entry scale status measured"""
    out: Path | None = None
    """folder of your own trainings, instead of the figures that come with this package"""


@dataclass(frozen=True)
class Keep:
    """Write the figures of all trainings of a scale as CSV, which `claims` reads."""

    scale: str = "embedded"
    out: Path = Path("runs/experiments")
    """folder of the trainings"""
    to: Path = MEASURED
    """folder for the CSV"""


@dataclass(frozen=True)
class List:
    """Show the entries of every paper."""


def _scale(name: str) -> Scale:
    require_choice("scale", name, tuple(SCALES))
    return SCALES[name]


def _every_entry() -> list[Entry]:
    return [entry for entries in PAPERS.values() for entry in entries.values()]


def _reproduce(flags: Reproduce) -> None:
    require_choice("paper", flags.paper, tuple(PAPERS))
    known, scale = PAPERS[flags.paper], _scale(flags.scale)
    for name in flags.entry:
        require_choice("entry", name, tuple(known))
    entries = [known[name] for name in flags.entry or known]
    wanted, root = cells(entries, scale), flags.out / scale.name
    for name in dict.fromkeys(cell.run.data for cell in wanted):
        data.require_ready(name)
    grid.use_every_core()
    records.writable(root)
    for name, progress in studies.train(wanted, root):
        for record in progress.ended:
            print(f"{progress.finished} of {progress.cells} of {name}: {record.name} {record.status}", file=sys.stderr)
    for entry in entries:
        entry.follow(scale, root)
    found = measured.from_records(scale, root, wanted, findings(entries))
    for entry in entries:
        entry.show(found, root)


def _measured(out: Path | None, scale: Scale) -> Measured:
    entries = _every_entry()
    if out is not None:
        return measured.from_records(scale, out / scale.name, cells(entries, scale), findings(entries))
    return measured.from_csv(scale, MEASURED, findings(entries))


def judged(paper: str | None, out: Path | None) -> list[dict[str, str]]:
    """The table of claims: a row for each claim and scale at which it was looked at, one `not run` where at none."""
    found = [_measured(out, scale) for scale in SCALES.values()]
    rows: list[dict[str, str]] = []
    for claim in papers.claims():
        if paper in (None, claim["paper"]):
            entry, rule = RULES.get(claim["id"], ("", None))
            common = {"id": claim["id"], "paper": claim["paper"], "claim": claim["claim"], "entry": entry}
            looked = [(one.scale.name, *claims.judge(rule, one)) for one in found]
            for scale, status, text in [one for one in looked if one[1] != "not run"] or looked[-1:]:
                rows.append({**common, "scale": scale, "status": status, "measured": text})
    return rows


def _claims(flags: Claims) -> None:
    if flags.paper is not None:
        require_choice("paper", flags.paper, tuple(dict.fromkeys(claim["paper"] for claim in papers.claims())))
    rows = judged(flags.paper, flags.out)
    if flags.csv:
        writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return
    console = style.console()
    for row in rows:
        console.print(f"{row['id']}  [bold]{row['status']}[/bold]  {row['scale']}  {row['claim']}", highlight=False)
        if row["measured"]:
            console.print(f"        {row['measured']}", style="dim", highlight=False)


def _keep(flags: Keep) -> None:
    scale = _scale(flags.scale)
    entries = _every_entry()
    found = measured.from_records(scale, flags.out / scale.name, cells(entries, scale), findings(entries))
    require(bool(found.rows), "out", str(flags.out), f"a folder with trainings of scale {scale.name}")
    records.writable(flags.to)
    measured.to_csv(found, flags.to, findings(entries))
    command = f"python -m experiments PAPER --scale {scale.name}; python -m experiments keep --scale {scale.name}"
    text = measured.provenance(flags.out / scale.name, found.rows, command)
    records.write_text(flags.to / f"{scale.name}.json", text)
    print(f"{len(found.rows)} trainings in {flags.to / f'{scale.name}.csv'}")


def _list(flags: List) -> None:
    del flags
    for paper, entries in PAPERS.items():
        for name, entry in entries.items():
            print(f"{paper}  {name:20}{entry.title}")


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in PAPERS:
        arguments = ["run", *arguments]
    commands = {"run": Reproduce, "list": List, "claims": Claims, "keep": Keep}
    actions = {Reproduce: _reproduce, List: _list, Claims: _claims, Keep: _keep}
    flags = tyro.extras.subcommand_cli_from_dict(commands, prog="python -m experiments", args=arguments)
    try:
        actions[type(flags)](flags)
    except InvalidInput as error:
        print(f"experiments: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
