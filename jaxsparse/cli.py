"""The command line: dataclasses are the flags, one function a command.

Bad input ends in one line that names the field and the allowed values, exit status 2, and nothing written.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import shlex
import signal
import sys
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxsparse import data, decay, grid, loggers, models, records, report, rules, smaller, sparsity, stopping
from jaxsparse.bench import command as bench_command
from jaxsparse.checks import InvalidInput, name_of, require
from jaxsparse.config import Run
from jaxsparse.criteria import Thresholds
from jaxsparse.data import command as data_command
from jaxsparse.export import command as export_command
from jaxsparse.export.own import Own
from jaxsparse.pruning import command as prune_command
from jaxsparse.report import live
from jaxsparse.settings import Settings

Flat = tyro.conf.OmitArgPrefixes


def _of(hyperparameter: str, said: str) -> Any:
    """Help for a flag that some optimizers have."""
    return tyro.conf.arg(help=f"{', '.join(rules.having(hyperparameter))}: {said}")


@dataclass(frozen=True)
class Constants:
    """The update rules' own hyperparameters; what is not given has the paper's value, else its convention's."""

    b1: Annotated[float | None, _of("b1", "decay of the first moment")] = None
    b2: Annotated[float | None, _of("b2", "decay of the second moment")] = None
    eps: Annotated[float | None, _of("eps", "keeps the division finite")] = None
    decay: Annotated[float | None, _of("decay", "decay of the mean square")] = None
    rho: Annotated[float | None, _of("rho", "decay of the mean squares")] = None
    momentum: Annotated[float | None, _of("momentum", "share of the former step that is taken again")] = None
    initial_accumulator_value: Annotated[
        float | None, _of("initial_accumulator_value", "what the sum of squares starts at")
    ] = None
    nesterov: Annotated[bool, _of("nesterov", "Nesterov's momentum")] = False

    def given(self) -> dict[str, float]:
        """Those that were given, less `nesterov`."""
        return {name: value for name, value in asdict(self).items() if value is not None and name != "nesterov"}


@dataclass(frozen=True)
class Grid:
    """Train every combination of optimizer, regularizer, strength and seed; show and write what came out.

    Without any flag: seven optimizers x {none, L2, decoupled weight decay} x two strengths x three seeds of a small
    network on real handwritten digits. A killed grid goes on where it was when the same command is given again; with
    more optimizers, regularizers, strengths or seeds it trains what is missing.
    """

    settings: Flat[Settings] = field(default_factory=Settings)
    constants: Flat[Constants] = field(default_factory=Constants)
    optimizers: tuple[str, ...] = rules.names()
    """names, or module:name of a rule that is elsewhere, such as optax:lion"""
    regularizers: tuple[str, ...] = ("none", "l2", "wd")
    """none, l2 (coupled), wd (decoupled, follows the schedule), wd-lr (AdamW's), bn-l1, group-lasso,
    proximal-group-lasso (exact zeros); the last two -unweighted too: without sqrt(group size)"""
    strengths: tuple[float, ...] = (1e-4, 1e-3)
    """of every regularizer but none"""
    seeds: int = 3
    """how many, from 0"""
    where: Flat[grid.Where] = field(default_factory=grid.Where)
    worker: bool = False
    """help another process that trains this grid in the same --out, on this or another machine: each cell is trained
    once, those of a process that dies are taken over; no report is written"""
    log: tuple[str, ...] = ()
    """what is measured goes there too: tensorboard (tensorboardX), wandb, mlflow, csv"""
    out: Path | None = None
    """folder of the results [runs/DATA-MODEL]"""


@dataclass(frozen=True)
class Train:
    """Train one network."""

    settings: Flat[Settings] = field(default_factory=Settings)
    constants: Flat[Constants] = field(default_factory=Constants)
    optimizer: str = "adam"
    """a name, or module:name of a rule that is elsewhere, such as optax:lion"""
    regularizer: str = "l2"
    """none, l2 (coupled), wd (decoupled, follows the schedule), wd-lr (AdamW's), bn-l1, group-lasso,
    proximal-group-lasso (exact zeros); the last two -unweighted too: without sqrt(group size)"""
    strength: float = 1e-3
    """of the regularizer"""
    seed: int = 0
    start: Path | None = None
    """weights and statistics to start from: a run or an export of a network that fits [an untrained network]"""
    shrink_every: int = 0
    """epochs between two removals of units that are dead by scale, which makes the rest of the training faster; a
    multiple of --measure-every [0: nothing is removed]"""
    together: Flat[grid.Together] = field(default_factory=grid.Together)
    log: tuple[str, ...] = ()
    """what is measured goes there too: tensorboard (tensorboardX), wandb, mlflow, csv"""
    out: Path | None = None
    """folder of the results [runs/DATA-MODEL-OPTIMIZER-REGULARIZER]"""


@dataclass(frozen=True)
class Measure:
    """Show which units of a trained network are dead, per layer and by each criterion."""

    run: Annotated[Path, tyro.conf.Positional]
    """folder of a run"""
    own: Flat[Own] = field(default_factory=Own)
    threshold_scale: float = Thresholds.scale
    threshold_activation: float = Thresholds.activation
    threshold_norm: float = Thresholds.norm
    json: bool = False
    """print one JSON object instead of a table"""


@dataclass(frozen=True)
class Report:
    """Draw the figures and write the report page of a grid."""

    dir: Annotated[Path, tyro.conf.Positional]
    """folder of a grid"""


@dataclass(frozen=True)
class Results:
    """Show what every cell of a grid ended with."""

    dir: Annotated[Path, tyro.conf.Positional]
    """folder of a grid, or one that holds several"""
    csv: bool = False
    """one row per cell as CSV instead of the table"""


COMMANDS = {
    "grid": Grid,
    "train": Train,
    "decay": decay.Decay,
    "measure": Measure,
    "shrink": smaller.Shrink,
    "prune": prune_command.Prune,
    "export": export_command.Export,
    "report": Report,
    "results": Results,
    "data": data_command.Data,
    "bench": bench_command.Bench,
}


def _train_grid(
    declaration: grid.Declaration,
    out: Path,
    command: str,
    trainer: grid.Trainer,
    log: tuple[str, ...],
    grows: bool,
    reports: bool = True,
) -> int:
    """Trains, shows and reports a grid; 1 where a cell failed."""
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


def _grid(flags: Grid, command: str) -> int:
    flags.where.prepare()
    require(1 <= flags.seeds <= grid.MOST_CELLS, "seeds", flags.seeds, f"a whole number from 1 to {grid.MOST_CELLS}")
    declaration = grid.Declaration(
        flags.settings.run(flags.constants.nesterov),
        optimizers=flags.optimizers,
        regularizers=flags.regularizers,
        strengths=flags.strengths,
        seeds=tuple(range(flags.seeds)),
        learning_rate=flags.settings.learning_rate,
        constants=flags.constants.given(),
        targets=flags.settings.targets(),
    )
    out = flags.out or Path("runs").absolute() / _called(declaration.run)
    trainer = flags.where.trainer(declaration.run)
    return _train_grid(declaration, out, command, trainer, flags.log, grows=True, reports=not flags.worker)


def _train(flags: Train, command: str) -> int:
    flags.together.prepare()
    declaration = grid.Declaration(
        replace(flags.settings.run(flags.constants.nesterov), shrink_every=flags.shrink_every),
        optimizers=(flags.optimizer,),
        regularizers=(flags.regularizer,),
        strengths=(flags.strength,),
        seeds=(flags.seed,),
        learning_rate=flags.settings.learning_rate,
        constants=flags.constants.given(),
        targets=flags.settings.targets(),
        start=None if flags.start is None else grid.Start(flags.start),
    )
    name = f"{_called(declaration.run)}-{flags.optimizer.replace(':', '.')}-{flags.regularizer}"
    out = flags.out or Path("runs").absolute() / name
    trainer = flags.together.trainer(declaration.run)
    return _train_grid(declaration, out, command, trainer, flags.log, grows=False)


def _called(run: Run) -> str:
    """What a folder is called where nothing else is said."""
    return f"{data.called(run.data)}-{name_of(run.model).replace(':', '.')}"


def _decay(flags: decay.Decay, command: str) -> int:
    del command
    return decay.command(flags)


def _measure(flags: Measure, command: str) -> int:
    del command
    thresholds = Thresholds(flags.threshold_scale, flags.threshold_activation, flags.threshold_norm)
    _, model, run = flags.own.open(flags.run)
    dataset = data.opened(run.data, run.pixels)
    found = sparsity.observe(model, dataset, models.features_of(run.model))
    judged = sparsity.judge(found, thresholds)
    print(json.dumps(judged.counts()) if flags.json else judged)
    return 0


def _shrink(flags: smaller.Shrink, command: str) -> int:
    del command
    return smaller.command(flags)


def _prune(flags: prune_command.Prune, command: str) -> int:
    del command
    return prune_command.command(flags)


def _export(flags: export_command.Export, command: str) -> int:
    del command
    return export_command.command(flags)


def _report(flags: Report, command: str) -> int:
    print(report.write(flags.dir, command))
    return int(records.is_damaged(flags.dir))


def _results(flags: Results, command: str) -> int:
    del command
    report.print_results(flags.dir, csv=flags.csv)
    return int(records.is_damaged(flags.dir))


def _data(flags: data_command.Data, command: str) -> int:
    del command
    return data_command.command(flags)


def _bench(flags: bench_command.Bench, command: str) -> int:
    del command
    return bench_command.command(flags)


ACTIONS = {
    Grid: _grid,
    Train: _train,
    decay.Decay: _decay,
    Measure: _measure,
    smaller.Shrink: _shrink,
    prune_command.Prune: _prune,
    export_command.Export: _export,
    Report: _report,
    Results: _results,
    data_command.Data: _data,
    bench_command.Bench: _bench,
}


def _one_line(message: str) -> str:
    """The first paragraph of tyro's error message, which comes in a box under a title."""
    _, *lines = [line.strip(" │╭╮╰╯─-") for line in message.splitlines()]
    first = itertools.takewhile(bool, itertools.dropwhile(lambda line: not line, lines))
    return " ".join(first)


def _located(flags: Any) -> Any:
    """The flags with every path made absolute, once and for all: `~` and the current folder mean the same to whoever
    opens it later."""
    if isinstance(flags, Path):
        return Path(os.path.abspath(flags.expanduser()))
    if not is_dataclass(flags) or isinstance(flags, type):
        return flags
    return replace(flags, **{each.name: _located(getattr(flags, each.name)) for each in fields(flags) if each.init})


def _parsed(arguments: list[str]) -> Any:
    """The flags of a command.

    Raises:
      SystemExit: 2 with one line on what is wrong, 0 after help.
    """
    complaints = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaints):
            return tyro.extras.subcommand_cli_from_dict(
                COMMANDS, prog="jaxsparse", description="Sparsity that appears by itself in training.", args=arguments
            )
    except SystemExit as stopped:
        if stopped.code:
            print(f"jaxsparse: {_one_line(complaints.getvalue())} (see --help)", file=sys.stderr)
        raise


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what an encoding lacks is no reason to stop
            stream.reconfigure(errors="replace")
    with stopping.watching():
        try:
            return _run(arguments)
        except KeyboardInterrupt as stop:
            asked = stop if isinstance(stop, stopping.Stopped) else stopping.Stopped(signal.SIGINT)
            print(f"jaxsparse: {asked.message}", file=sys.stderr)
            return asked.status


def _run(arguments: list[str]) -> int:
    flags = None
    if "" not in sys.path:
        sys.path.append("")  # `--optimizers mine:rule` is a file of the folder that the command is given in
    try:
        flags = _parsed(arguments)
        if not isinstance(flags, bench_command.Bench):  # which times compiling too
            grid.keep_compiled()
        status = ACTIONS[type(flags)](_located(flags), shlex.join(["jaxsparse", *arguments]))
        sys.stdout.flush()
        return status
    except SystemExit as stopped:
        return int(stopped.code or 0)
    except InvalidInput as error:
        print(f"jaxsparse: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever reads has enough: `jaxsparse decay --csv | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(flags, Grid | Train):
            return 0
        print("jaxsparse: nobody reads the output; the same command goes on where it was", file=sys.stderr)
        return 128 + signal.SIGPIPE
    except OSError as error:
        print(f"jaxsparse: {error.filename or 'a file'} can't be used: {error.strerror or error}", file=sys.stderr)
        return 1
