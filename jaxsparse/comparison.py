"""A grid in Python: what `jaxsparse grid` does, with objects in the place of names.

mine = js.data.arrays((x, y), test=(x_test, y_test), name="mine")
results = js.Grid(data=mine, model=MyNet, optimizers=["adam", "sgd"], epochs=50).run("runs/mine")
print(results.table())
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from jaxsparse import grid, records, regularizers, report, stopping
from jaxsparse.checks import InvalidInput, require
from jaxsparse.commands.where import Where
from jaxsparse.criteria import Criterion
from jaxsparse.data import Data
from jaxsparse.models import Model
from jaxsparse.report import live, table
from jaxsparse.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FORM = regularizers.form
"""Under another name, as an argument is called like its module."""


class Grid:
    """Every combination of optimizer, regularizer, strength and seed, of one network on one data set.

    Args:
      data: a data set: a name, where it lies (`FILE.npz`, a folder of images, `tfds:NAME`), or `js.data.arrays(..)`.
      model: a network: a name, or what makes one of your own, called as `model(rngs=..)`; it gets a batch and gives
        logits `[n, classes]`, or outputs for real targets.
      optimizers: update rules.
      regularizers: names, or classes that make a regularizer of a strength (`js.BatchNormL1`, one of your own).
      strengths: of every regularizer but `"none"`.
      seeds: how many, from 0; or which.
      loss: of outputs and targets, a value for each (`optax.squared_error`); by default cross-entropy of labels, the
        squared error of real targets.
      learning_rate: at the start, of every optimizer; each one's own where not given.
      criteria: of dead units, beside those by scale, activation and norm.
      constants: hyperparameters that replace the defaults of every optimizer that has them.
      settings: whatever else `jaxsparse grid` has a flag for, under its name: `epochs`, `batch`, `regularize`,
        `measure_every`, `milestones`, `precision`, `convention`, `threshold_scale` ..

    Attributes:
      declaration: what is to be trained.

    Raises:
      InvalidInput: naming the argument and the allowed values, before anything is trained.

    Example:
      Under a decay that takes nine tenths of every weight in each step, all units die:

      >>> import jax
      >>> import jaxsparse as js
      >>> x, y = jax.numpy.eye(2), jax.numpy.arange(2)
      >>> mine = js.data.arrays((x, y), test=(x, y), name="mine")
      >>> settings = {"epochs": 8, "measure_every": 8, "batch": 2, "widths": (4,), "learning_rate": 1e-3}
      >>> grid = js.Grid(mine, "mlp", ["sgd"], ["none", "wd"], strengths=[0.9], seeds=1, **settings)
      >>> results = grid.run("runs/mine", quiet=True)
      >>> for entry in results.table().flat:  # percent of dead units; print(results.table()) has errors too
      ...     print(entry.label, entry.dead.mean)
      SGD 0.0
      SGD + WD 0.9 100.0
    """

    def __init__(
        self,
        data: Data = "digits",
        model: Model = "mlp",
        optimizers: Sequence[Any] = ("sgd", "adam"),
        regularizers: Sequence[regularizers.Form] = ("none", "l2", "wd"),
        strengths: Sequence[float] = (1e-4, 1e-3),
        seeds: int | Sequence[int] = 3,
        *,
        loss: Callable[[Any, Any], Any] | None = None,
        learning_rate: float | None = None,
        constants: Mapping[str, float] = MappingProxyType({}),
        criteria: Sequence[Criterion] = (),
        **settings: Any,
    ):
        known = {each.name for each in fields(Settings)} - {"data", "model", "loss", "learning_rate"}
        for name, value in settings.items():
            require(name in known, name, value, f"left out; other settings are {' '.join(sorted(known))}")
        given = Settings(data=data, model=model, **settings)  # pyright: ignore[reportArgumentType]
        run = given.run()
        self.declaration = grid.Declaration(
            replace(run, loss=loss, thresholds=replace(run.thresholds, own=tuple(criteria))),
            optimizers=tuple(optimizers),
            regularizers=tuple(_FORM(each) for each in regularizers),
            strengths=tuple(strengths),
            seeds=tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds),
            learning_rate=learning_rate,
            constants=dict(constants),
            targets=given.targets(),
        )

    def run(self, folder: str | Path, *, where: Where | None = None, quiet: bool = False) -> Results:
        """Trains what is not there yet, showing how it goes; what was killed goes on where it was.

        Args:
          folder: of the results, new or that of the same grid.
          where: on what it trains; all cores or devices of this machine where not given.
          quiet: whether to show nothing.

        Raises:
          InvalidInput: where the folder can't be written to or holds another grid.
        """
        out, where = Path(folder).expanduser().absolute(), where or Where()
        where.prepare()
        with contextlib.closing(grid.run(self.declaration, out, where.trainer(self.declaration.run))) as steps:
            try:
                if quiet:
                    for _ in steps:
                        pass
                else:
                    live.follow(steps, self.declaration, out)
            except BaseException:  # whatever it is, what is being trained is kept
                stopping.ask()
                raise
        return Results(out)


@dataclass(frozen=True)
class Results:
    """What a grid came to: reads its folder, never trains."""

    folder: Path

    def table(self) -> table.Summary:
        """Dead units and test error of every optimizer under every regularizer; prints as a table.

        Raises:
          InvalidInput: where there is no run.
        """
        return table.summarize(self.folder)

    def frame(self) -> Any:
        """A row for every training, as a pandas DataFrame with the columns `records.COLUMNS`.

        Raises:
          InvalidInput: where there is no run, or pandas is not installed.
        """
        found = records.results(self.folder)
        try:
            return found.to_pandas()
        except ImportError:
            raise InvalidInput("frame needs pandas (pip install pandas); records.results gives Arrow's table") from None

    def figure(self, name: str) -> Figure:
        """One of the report's figures, drawn by matplotlib.

        Args:
          name: of `gallery.FIGURES`, or how it begins; the first where several do.

        Raises:
          InvalidInput: for another name; or where there is nothing to draw, saying why.
        """
        from jaxsparse.report import gallery, page

        grid = page.Grid.read(self.folder)
        return gallery.figure(gallery.Shown(self.folder, self.table(), grid.run.thresholds, grid.time), name)

    def report(self, *figures: Callable[[Path], Figure]) -> Path:
        """Draws all figures and writes the report page; its path.

        Args:
          figures: more of them, functions from the grid's folder to a figure. The first line of a docstring is the
            title, the rest the caption.
        """
        return report.write(self.folder, "js.Grid(..).run(..)", figures)
