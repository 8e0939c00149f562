"""`jaxsparse train`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import tyro

from jaxsparse.commands import named
from jaxsparse.commands.constants import Constants
from jaxsparse.commands.where import Together
from jaxsparse.settings import Settings

Flat = tyro.conf.OmitArgPrefixes


@dataclass(frozen=True)
class Train:
    """Train one network."""

    settings: Flat[Settings] = field(default_factory=Settings)
    constants: Flat[Constants] = field(default_factory=Constants)
    optimizer: str = "adam"
    """a name, or module:name of a rule that is elsewhere, such as optax:lion"""
    regularizer: str = "l2"
    """none, l2 (coupled), wd (decoupled, follows the schedule), wd-lr (AdamW's), wd-cautious, wd-to-start, spred
    (L2 of factors), bn-l1, group-lasso, proximal-group-lasso (exact zeros); the last two -unweighted too: without
    sqrt(group size)"""
    strength: float = 1e-3
    """of the regularizer"""
    seed: int = 0
    start: Path | None = None
    """weights and statistics to start from: a run or an export of a network that fits [an untrained network]"""
    shrink_every: int = 0
    """epochs between two removals of units that are dead by scale, which makes the rest of the training faster; a
    multiple of --measure-every [0: nothing is removed]"""
    together: Flat[Together] = field(default_factory=Together)
    log: tuple[str, ...] = ()
    """what is measured goes there too: tensorboard (tensorboardX), wandb, mlflow, csv"""
    out: Path | None = None
    """folder of the results [runs/DATA-MODEL-OPTIMIZER-REGULARIZER]"""


def command(flags: Train, line: str) -> int:
    """Trains one network; 1 where that failed."""
    named.require_optimizers((flags.optimizer,), "optimizers")
    from jaxsparse import grid
    from jaxsparse.commands import training

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
    name = f"{training.called(declaration.run)}-{flags.optimizer.replace(':', '.')}-{flags.regularizer}"
    out = flags.out or Path("runs").absolute() / name
    trainer = flags.together.trainer(declaration.run)
    return training.train(declaration, out, line, trainer, flags.log, grows=False)
