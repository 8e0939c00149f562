"""Run the papers' experiments again.

python -m experiments list
python -m experiments mehta2019 table1 --scale embedded
python -m experiments all --scale embedded
python -m experiments claims --paper mehta2019 --csv
python -m experiments claims --markdown > docs/claims.md
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import jax
import tyro

from experiments import (
    batra2024,
    claims_table,
    measured,
    mehta2018,
    mehta2019,
    papers,
    retsinas2020,
    studies,
    today,
    yaguchi2018,
)
from experiments.batra2024 import claims as batra2024_claims
from experiments.entries import Entry, cells, findings
from experiments.forecast import forecast
from experiments.measured import Measured
from experiments.mehta2019 import claims as mehta2019_claims
from experiments.retsinas2020 import claims as retsinas2020_claims
from experiments.scales import MLP, PAPER, SCALES, Scale
from experiments.yaguchi2018 import cells as yaguchi2018_cells
from experiments.yaguchi2018 import claims as yaguchi2018_claims
from jaxsparse import data, grid, records
from jaxsparse.checks import InvalidInput, require, require_choice
from jaxsparse.grid.engine import step_seconds
from jaxsparse.report import table as style

PAPERS = {
    "mehta2019": mehta2019.ENTRIES,
    "mehta2018": mehta2018.ENTRIES,
    "retsinas2020": retsinas2020.ENTRIES,
    "yaguchi2018": yaguchi2018.ENTRIES,
    "batra2024": batra2024.ENTRIES,
    "today": today.ENTRIES,
}
"""And of what no paper asks."""
RULES = {
    **mehta2019_claims.RULES,
    **mehta2018.RULES,
    **retsinas2020_claims.RULES,
    **yaguchi2018_claims.RULES,
    **batra2024_claims.RULES,
}
MEASURED = Path(__file__).parent / "measured"


@dataclass(frozen=True)
class Reproduce:
    """Train what an entry needs, as far as it is not there yet, and show it beside the paper's figures."""

    paper: Annotated[str, tyro.conf.Positional]
    """mehta2019, mehta2018, retsinas2020, yaguchi2018, batra2024, or today: today's optimizers"""
    entry: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """what `list` shows; without any, all of the paper"""
    scale: str = "embedded"
    """embedded (small, on data that ship with the package), mlp (an MLP, for all of the steps) or paper (its own)"""
    out: Path = Path("runs/experiments")
    """folder of the trainings"""
    kept: bool = False
    """train only what the figures that come with this package lack, where an entry asks for figures alone"""


@dataclass(frozen=True)
class Claims:
    """Say of every claim of the papers whether the trainings show it."""

    paper: str | None = None
    """one paper's only"""
    csv: bool = False
    """columns id paper claim entry scale status measured"""
    markdown: bool = False
    """the page docs/claims.md"""
    out: Path | None = None
    """folder of your own trainings, instead of the figures that come with this package"""


@dataclass(frozen=True)
class Keep:
    """Write the figures of all trainings of a scale as CSV, which `claims` reads; what was kept of other trainings
    stays."""

    scale: str = "embedded"
    out: Path = Path("runs/experiments")
    """folder of the trainings"""
    to: Path = MEASURED
    """folder for the CSV"""


@dataclass(frozen=True)
class All:
    """Train and show every entry of every paper, one after another; an entry that fails does not stop the others.

    In the end the figures of all trainings (`measured/`) and the table of claims (`claims.csv`, `claims.md`) are
    written into the folder.
    """

    scale: str = "embedded"
    """embedded, mlp or paper"""
    out: Path = Path("runs/experiments")
    """folder of the trainings"""


@dataclass(frozen=True)
class List:
    """Show the entries of every paper: what each trains, how long that took where it was measured, and the claims that
    are decided by it."""

    scale: str = "embedded"
    """embedded, mlp or paper"""


def _scale(name: str) -> Scale:
    require_choice("scale", name, tuple(SCALES))
    return SCALES[name]


def _entries(paper: str, scale: Scale) -> dict[str, Entry]:
    """The entries of a paper that there are at a scale."""
    return {name: entry for name, entry in PAPERS.get(paper, {}).items() if scale is not MLP or entry.on_mlp}


def _every_entry(scale: Scale) -> list[Entry]:
    return [entry for paper in PAPERS for entry in _entries(paper, scale).values()]


def _reproduce(flags: Reproduce) -> int:
    require_choice("paper", flags.paper, tuple(PAPERS))
    scale = _scale(flags.scale)
    known = _entries(flags.paper, scale)
    require(len(known) > 0, "scale", scale.name, f"another one for {flags.paper}: embedded or paper")
    for name in flags.entry:
        require_choice("entry", name, tuple(known))
    kept = measured.from_csv(scale, MEASURED) if flags.kept else Measured(scale, {})
    failed = _train_and_show([known[name] for name in flags.entry or known], scale, flags.out, kept)
    for message in failed:
        print(f"experiments: {message}", file=sys.stderr)
    return 1 if failed else 0


def _train_and_show(entries: Sequence[Entry], scale: Scale, out: Path, kept: Measured) -> list[str]:
    """Trains what is missing of some entries and shows them all; which trainings failed, and why. Kept figures serve
    the entries that ask for no more."""
    every, root = cells(entries, scale), out / scale.name
    whole = {studies.place(cell) for cell in cells([one for one in entries if not one.figures_only], scale)}
    wanted = [cell for cell in every if studies.place(cell) not in kept.rows or studies.place(cell) in whole]
    for name in dict.fromkeys(cell.run.data for cell in wanted):
        data.require_ready(name)
    grid.use_every_core()
    records.writable(root)
    missing = [cell for cell in wanted if not (root / studies.place(cell) / "run.json").exists()]
    if scale is PAPER and missing:
        for line in forecast(missing, step_seconds, jax.device_count()):
            print(line, file=sys.stderr, flush=True)
    failed: list[str] = []
    for progress in studies.train(wanted, root):
        for record in progress.ended:
            place = f"{studies.study(record.run)}/{record.name}"
            print(f"{progress.finished} of {progress.cells}: {place} {record.status}", file=sys.stderr)
            if record.status == "failed":
                failed.append(f"{place} failed with {record.message.splitlines()[0]}")
    for entry in entries:
        entry.follow(scale, root)
    found = measured.from_records(scale, root, wanted, findings(entries))
    found = replace(found, rows={**kept.rows, **found.rows})
    for entry in entries:
        entry.show(found, root)
    return failed


def _measured(out: Path | None, scale: Scale) -> Measured:
    entries = _every_entry(scale)
    if out is not None:
        return measured.from_records(scale, out / scale.name, cells(entries, scale), findings(entries))
    return measured.from_csv(scale, MEASURED, findings(entries))


def judged(paper: str | None, out: Path | None) -> list[dict[str, str]]:
    """The table of claims, from the figures that come with this package or those of a folder of trainings."""
    found = [_measured(out, scale) for scale in SCALES.values()]

    def at(paper: str) -> list[Measured]:
        return [one for one in found if _entries(paper, one.scale)]

    return claims_table.judged(RULES, at, paper)


def regimes() -> list[str]:
    """What each scale has of the steps of Mehta et al. 2019 and Yaguchi et al. 2018, for each kind of training."""
    settings = [one for _, table in mehta2019.TABLES.values() for one in papers.settings(f"mehta2019_{table}")]
    return [
        f"`{scale.name}`, {network}: {text}"
        for scale in SCALES.values()
        for network, text in dict.fromkeys(
            (one.network.split(" ")[0], scale.regime(one)) for one in scale.trained(settings)
        )
    ] + [
        f"`{name}`, Yaguchi et al., {run.model}: {yaguchi2018_cells.regime(run)}"
        for name, size in yaguchi2018_cells.SIZES.items()
        for run in (size.dense, size.vgg)
    ]


def _claims(flags: Claims) -> int:
    if flags.paper is not None:
        require_choice("paper", flags.paper, tuple(dict.fromkeys(claim["paper"] for claim in papers.claims())))
    require(not (flags.csv and flags.markdown), "markdown", flags.markdown, "left out with --csv")
    rows = judged(flags.paper, flags.out)
    if flags.csv or flags.markdown:
        print(claims_table.as_csv(rows) if flags.csv else claims_table.page(rows, regimes()), end="")
        return 0
    console = style.console()
    for row in rows:
        console.print(f"{row['id']}  [bold]{row['status']}[/bold]  {row['scale']}  {row['claim']}", highlight=False)
        if row["measured"]:
            console.print(f"        {row['measured']}", style="dim", highlight=False)
    return 0


def _everything(flags: All) -> int:
    scale, failures = _scale(flags.scale), []
    for paper in PAPERS:
        for name, entry in _entries(paper, scale).items():
            try:
                failed = _train_and_show([entry], scale, flags.out, Measured(scale, {}))
            except Exception as error:  # whatever it was, the other entries go on
                failed = [(str(error).splitlines() or [type(error).__name__])[0]]
            failures += [f"{paper} {name}: {message}" for message in failed]
    _write_measured(scale, flags.out, flags.out / "measured")
    rows = judged(None, flags.out)
    records.write_text(flags.out / "claims.csv", claims_table.as_csv(rows))
    records.write_text(flags.out / "claims.md", claims_table.page(rows, regimes()))
    print(f"claims in {flags.out / 'claims.csv'} and {flags.out / 'claims.md'}")
    for failure in failures:
        print(f"experiments: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _write_measured(scale: Scale, out: Path, to: Path) -> int:
    """Adds the figures of all trainings of a scale to those that were kept; how many trainings there are."""
    entries = _every_entry(scale)
    wanted, kinds = cells(entries, scale), findings(entries)
    new = measured.from_records(scale, out / scale.name, wanted, kinds)
    require(bool(new.rows), "out", str(out), f"a folder with trainings of scale {scale.name}")
    records.writable(to)
    both = measured.united(measured.from_csv(scale, to, kinds), new, wanted)
    measured.to_csv(both, to, kinds)
    made_with = measured.made_with(out / scale.name, new.rows) | measured.kept_with(to, scale)
    measured.write_provenance(to, scale, f"python -m experiments all --scale {scale.name}", made_with)
    return len(both.rows)


def _keep(flags: Keep) -> int:
    scale = _scale(flags.scale)
    count = _write_measured(scale, flags.out, flags.to)
    print(f"{count} trainings in {flags.to / f'{scale.name}.csv'}")
    return 0


def _list(flags: List) -> int:
    scale = _scale(flags.scale)
    found = _measured(None, scale)
    print(f"python -m experiments PAPER ENTRY --scale {scale.name}   (hours on {measured.devices(MEASURED, scale)})")
    for paper in PAPERS:
        ids = {claim["id"] for claim in papers.claims() if claim["paper"] == paper}
        for name, entry in _entries(paper, scale).items():
            decided = [one for one, (by, _) in RULES.items() if name in by.split() and one in ids]
            cost = found.cost(entry.cells(scale))
            print(f"{paper}  {name:20}{entry.title}\n{'':{len(paper) + 2}}{cost}; claims {' '.join(decided) or '-'}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in PAPERS:
        arguments = ["run", *arguments]
    commands = {"run": Reproduce, "all": All, "list": List, "claims": Claims, "keep": Keep}
    actions = {Reproduce: _reproduce, All: _everything, List: _list, Claims: _claims, Keep: _keep}
    flags = tyro.extras.subcommand_cli_from_dict(commands, prog="python -m experiments", args=arguments)
    grid.keep_compiled()
    try:
        return actions[type(flags)](flags)
    except InvalidInput as error:
        print(f"experiments: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever reads has enough: `python -m experiments list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
