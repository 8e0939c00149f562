"""What trainings measure, to loggers as it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import jax
import numpy as np

from jaxsparse import data, sparsity
from jaxsparse.grid.running import Progress
from jaxsparse.loggers import Log
from jaxsparse.train import steps_per_epoch


def logged(steps: Iterator[Progress], logger: Callable[[str], Log]) -> Iterator[Progress]:
    """The progress of a grid as it is, while every measurement goes to the logger of its training, by the name of the
    cell: losses, errors, percent of dead units by criterion and layer, units that died and that came back."""
    before: dict[str, sparsity.Sparsity] = {}
    for progress in steps:
        for measured in progress.measured:
            for index, cell in enumerate(measured.cells):
                run, row = cell.run, jax.tree.map(lambda a, index=index: np.asarray(a[index]), measured.row)
                found = sparsity.judge(row.measured.units, run.thresholds)
                step = measured.points * run.measure_every * steps_per_epoch(run, data.describe(run.data))
                numbers = {
                    "train_loss": float(row.train_loss[-1]),
                    "test_loss": float(row.test_loss),
                    "test_error": float(row.test_error),
                    **sparsity.numbers(found),
                    **(sparsity.changes(before[cell.name], found) if cell.name in before else {}),
                }
                before[cell.name] = found
                logger(cell.name)(step, numbers)
        yield progress
