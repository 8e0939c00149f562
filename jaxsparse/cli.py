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

from jaxsparse import data, decay, export, grid, models, records, report, rules, smaller, sparsity, stopping
from jaxsparse.bench import command as bench_command
from jaxsparse.config import MOST_EPOCHS, InvalidInput, Run, Target, Thresholds, require
from jaxsparse.data import command as data_command
from jaxsparse.export import command as export_command
from jaxsparse.pruning import command as prune_command
from jaxsparse.report import live

Flat = tyro.conf.OmitArgPrefixes


@dataclass(frozen=True)
class Scale:
    """How long a network trains on embedded data where nothing else is said."""

    epochs: int
    batch: int
    widths: tuple[int, ...] = ()


CONVOLUTIONAL = Scale(epochs=400, batch=40)
EMBEDDED = {
    "mlp": Scale(epochs=1000, batch=64),
    "basicnet": replace(CONVOLUTIONAL, widths=(16, 32, 32, 64)),
    "batranet": CONVOLUTIONAL,
    "wrn-10-1": CONVOLUTIONAL,
    **{
        name: replace(CONVOLUTIONAL, widths=models.widths_of(name, 1 / 8))
        for name in ("vgg-11", "vgg-16", "vgg-19", "wrn-16-3", "wrn-16-8", "resnet-50", "alexnet")
    },
}
POINTS = 25
"""Measurements during a training, where nothing else is said."""
FIRST_PHASE = 250 / 325
"""Share of a training at the initial learning rate, where nothing else is said (Mehta et al. 2019, section 2.1)."""


@dataclass(frozen=True)
class Settings:
    """Flags that all training commands share."""

    data: str = "digits"
    """data set: `jaxsparse data list`"""
    model: str = "mlp"
    """network: mlp, basicnet, vgg-11, vgg-16, vgg-19, wrn-10-1, wrn-16-3, wrn-16-8, resnet-50, alexnet or batranet"""
    width: float | None = None
    """multiplies the network's own widths"""
    widths: tuple[int, ...] = ()
    """units of each hidden layer (of convolutional networks: each convolution), instead of the network's own [basicnet:
    16 32 32 64; vgg, wrn: the network's own, divided by 8]"""
    head: tuple[int, ...] | None = None
    """units of the dense layers before the last one; no number: none [the network's own]"""
    pixels: str = "standardised"
    """what the network is fed: standardised (mean 0, deviation 1 per channel) or unit (from 0 to 1)"""
    activation: str = "relu"
    """activation function: relu, leaky-relu, elu, tanh or sigmoid"""
    slope: float = 0.01
    """of leaky-relu below zero"""
    initial_beta: float = 0.0
    """what the biases of all batch normalisations start at"""
    batch_norm: bool = True
    """normalise before each activation; without, layers have a bias"""
    batch_norm_parts: int = 1
    """equal parts of a batch that are normalised each on its own"""
    initialisation: str = "xavier"
    """what the kernels start as: xavier or he"""
    dropout: bool = False
    """drop activations in training (vgg only): 0.3 to 0.4 behind convolutions, 0.5 before dense layers"""
    gamma_rate: float = 1.0
    """learning rate of batch normalisations' scales, as a multiple of the others'"""
    beta_rate: float = 1.0
    """learning rate of batch normalisations' biases, as a multiple of the others'"""
    epochs: int | None = None
    """passes over the training set [mlp: 1000, others: 400]"""
    batch: int | None = None
    """images in a step [mlp: 64, others: 40]"""
    precision: str = "float32"
    """of products and activations during training: float32 or bfloat16 (for accelerators); float64 for everything, with
    JAX_ENABLE_X64=true"""
    milestones: tuple[int, ...] | None = None
    """epochs after which the learning rate is multiplied by --factor [one, after 250/325 of the training]"""
    factor: float = 0.1
    """of the learning rate at each milestone"""
    restarts: int = 0
    """epochs in which the learning rate falls to zero along a cosine, then again; without milestones [0: never]"""
    measure_every: int | None = None
    """epochs between measurements; a divisor of --epochs [about 25 measurements]"""
    convention: str = "torch"
    """whose formulas and defaults the update rules follow: torch, keras, optax or paper"""
    threshold_scale: float = Thresholds.scale
    """a unit is dead by scale where |gamma| is below this"""
    threshold_activation: float = Thresholds.activation
    """a unit is dead by activation where it never exceeds this on the training set"""
    threshold_norm: float = Thresholds.norm
    """a unit is dead by norm where the L2 norm of its incoming weights is below this"""
    regularize: str = "all"
    """what the regularizer acts on: all, or some of kernels, biases, scales (gamma) and shifts (beta) joined by +, like
    kernels or kernels+biases"""
    learning_rate: float | None = None
    """initial learning rate [the paper's for each optimizer]"""
    thresholding: str = "none"
    """how weights become zero below a bound during training (Retsinas et al. 2020): none, binary-search or gaussian
    (the same sparsity in every layer), budget, hinge or unconstrained (bounds are trained)"""
    thresholded: str = "convolutions"
    """weights that have a bound: convolutions, or kernels (all)"""
    sparsity: tuple[float, ...] = ()
    """share of these that is to be zero; of several --density, one for all or one for each"""
    sparsity_strength: tuple[float, ...] = ()
    """lambda of the loss of trained bounds, such as 10; of several --density, one for all or one for each"""
    density: tuple[str, ...] = ("parameters",)
    """what trained bounds make small: parameters, flops or average (over layers)"""
    straight_through: bool = True
    """train zeroed weights as if they were not zero"""
    bound_rate: float | None = None
    """learning rate of trained bounds, as a multiple of the others' [sgd: 0.01, others: 1]"""

    def targets(self) -> tuple[Target, ...]:
        """Of thresholding, with what was given once for all densities given for each."""
        shares, strengths = self.sparsity, self.sparsity_strength or (0.0,)
        fits = bool(shares) or not self.sparsity_strength
        require(fits, "sparsity-strength", self.sparsity_strength, "left out without sparsity")
        most = max(len(shares), len(strengths))
        for name, values in (("sparsity", shares), ("sparsity-strength", strengths)):
            require(len(values) in (1, most) or not shares, name, values, "one number, or one for each density")
        each = [values * most if len(values) == 1 else values for values in (shares, strengths)]
        return tuple(Target(*pair) for pair in zip(*each, strict=False))

    def run(self, nesterov: bool = False) -> Run:
        """The static settings, with what was not given filled in."""
        models.widths_of(self.model)  # refuses unknown names
        scale = EMBEDDED[self.model]
        epochs = scale.epochs if self.epochs is None else self.epochs
        require(1 <= epochs <= MOST_EPOCHS, "epochs", epochs, f"a whole number from 1 to {MOST_EPOCHS}")
        first_phase = round(FIRST_PHASE * epochs)
        every = next(n for n in range(max(1, epochs // POINTS), epochs + 1) if epochs % n == 0)
        return Run(
            data=self.data,
            model=self.model,
            width=1.0 if self.width is None else self.width,
            widths=self.widths or (scale.widths if self.width is None else ()),
            head=self.head,
            pixels=self.pixels,
            activation=self.activation,
            slope=self.slope,
            initial_beta=self.initial_beta,
            batch_norm=self.batch_norm,
            batch_norm_parts=self.batch_norm_parts,
            initialisation=self.initialisation,
            dropout=self.dropout,
            gamma_rate=self.gamma_rate,
            beta_rate=self.beta_rate,
            regularize=self.regularize,
            convention=self.convention,
            nesterov=nesterov,
            epochs=epochs,
            batch=scale.batch if self.batch is None else self.batch,
            precision=self.precision,
            milestones=(first_phase,) * (0 < first_phase < epochs and not self.restarts)
            if self.milestones is None
            else self.milestones,
            factor=self.factor,
            restarts=self.restarts,
            thresholding=self.thresholding,
            thresholded=self.thresholded,
            straight_through=self.straight_through,
            density=self.density,
            bound_rate=self.bound_rate,
            measure_every=every if self.measure_every is None else self.measure_every,
            thresholds=Thresholds(self.threshold_scale, self.threshold_activation, self.threshold_norm),
        )


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
    network on real handwritten digits. A killed grid goes on where it was when the same command is given again.
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
    out: Path | None = None
    """folder of the results [runs/DATA-MODEL-OPTIMIZER-REGULARIZER]"""


@dataclass(frozen=True)
class Measure:
    """Show which units of a trained network are dead, per layer and by each criterion."""

    run: Annotated[Path, tyro.conf.Positional]
    """folder of a run"""
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


def _train_grid(declaration: grid.Declaration, out: Path, command: str, trainer: grid.Trainer) -> int:
    """Trains, shows and reports a grid; 1 where a cell failed."""
    with contextlib.closing(grid.run(declaration, out, trainer)) as steps:
        if not grid.writes():
            return int(any(end.status == "failed" for step in steps for end in step.ended))
        try:
            live.follow(steps, declaration, out)
        except BaseException:  # whatever it is, what is being trained is kept
            stopping.ask()
            raise
    page = report.write(out, command)
    print(f"\nreport   {page}\nfigures  {out / 'figures'}\nresults  jaxsparse results {shlex.quote(str(out))} --csv")
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
    out = flags.out or Path("runs").absolute() / f"{flags.settings.data}-{flags.settings.model}"
    return _train_grid(declaration, out, command, flags.where.trainer(declaration.run))


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
    name = f"{flags.settings.data}-{flags.settings.model}-{flags.optimizer.replace(':', '.')}-{flags.regularizer}"
    out = flags.out or Path("runs").absolute() / name
    return _train_grid(declaration, out, command, flags.together.trainer(declaration.run))


def _decay(flags: decay.Decay, command: str) -> int:
    del command
    return decay.command(flags)


def _measure(flags: Measure, command: str) -> int:
    del command
    thresholds = Thresholds(flags.threshold_scale, flags.threshold_activation, flags.threshold_norm)
    model, run = export.load(flags.run), records.run_of(records.describe(export.folder_of(flags.run)))
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
