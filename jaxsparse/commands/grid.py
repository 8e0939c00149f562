"""`jaxsparse grid`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from jaxsparse.checks import require
from jaxsparse.commands import named
from jaxsparse.commands.constants import Constants
from jaxsparse.commands.where import Where
from jaxsparse.settings import Settings

Flat = tyro.conf.OmitArgPrefixes


@dataclass(frozen=True)
class Grid:
    """Train every combination of optimizer, regularizer, strength and seed; show and write what came out.

    Without any flag: seven optimizers x {none, L2, decoupled weight decay} x two strengths x three seeds of a small
    network on real handwritten digits. A killed grid goes on where it was when the same command is given again; with
    more optimizers, regularizers, strengths or seeds it trains what is missing.
    """

    settings: Flat[Settings] = field(default_factory=Settings)
    constants: Flat[Constants] = field(default_factory=Constants)
    optimizers: tuple[str, ...] = named.usual_optimizers()
    """names, or module:name of a rule that is elsewhere, such as optax:lion"""
    regularizers: tuple[str, ...] = ("none", "l2", "wd")
    """none, l2 (coupled), wd (decoupled, follows the schedule), wd-lr (AdamW's), wd-cautious, wd-to-start, spred
    (L2 of factors), bn-l1, group-lasso, proximal-group-lasso (exact zeros); the last two -unweighted too: without
    sqrt(group size)"""
    strengths: tuple[float, ...] = (1e-4, 1e-3)
    """of every regularizer but none"""
    seeds: int = 3
    """how many, from 0"""
    where: Flat[Where] = field(default_factory=Where)
    worker: bool = False
    """help another process that trains this grid in the same --out, on this or another machine: each cell is trained
    once, those of a process that dies are taken over; no report is written"""
    log: tuple[str, ...] = ()
    """what is measured goes there too: tensorboard (tensorboardX), wandb, mlflow, csv"""
    out: Path | None = None
    """folder of the results [runs/DATA-MODEL]"""


def command(flags: Grid, line: str) -> int:
    """Trains every combination; 1 where a training failed."""
    named.require_optimizers(flags.optimizers, "optimizers")
    from jaxsparse import grid
    from jaxsparse.commands import training

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
    out = flags.out or Path("runs").absolute() / training.called(declaration.run)
    trainer = flags.where.trainer(declaration.run)
    return training.train(declaration, out, line, trainer, flags.log, grows=True, reports=not flags.worker)
