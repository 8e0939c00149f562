"""What is going to be trained, for how many steps, and about how long that takes on this device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from jaxsparse import data
from jaxsparse.config import Run
from jaxsparse.grid import Cell
from jaxsparse.train import steps_per_epoch


def _network(run: Run) -> Run:
    """What decides the time of a step, about: the update rule hardly does."""
    return replace(run, optimizer="adam", regularizer="l2", milestones=(), measure_every=run.epochs)


def forecast(cells: Sequence[Cell], step_seconds: Callable[[Run], float], side_by_side: int) -> Iterator[str]:
    """A line for each kind of training, and one for all of them.

    Args:
      cells: that are to be trained.
      step_seconds: measures a step of a run on this device.
      side_by_side: how many are trained at a time.
    """
    kinds: dict[Run, list[Cell]] = {}
    for cell in cells:
        kinds.setdefault(_network(cell.run), []).append(cell)
    hours = 0.0
    for run, members in kinds.items():
        steps = run.epochs * steps_per_epoch(run, data.describe(run.data))
        seconds = step_seconds(run)
        hours += len(members) * steps * seconds / 3600 / side_by_side
        sizes = f" {' '.join(map(str, run.widths))}" if run.widths else ""
        yield (
            f"{len(members)} x {run.model}{sizes} on {run.data}, batch {run.batch}: {steps:,} steps "
            f"({run.epochs} epochs) of {1000 * seconds:.3g} ms"
        )
    yield f"{len(cells)} trainings, about {hours:.3g} hours here, {side_by_side} at a time"
