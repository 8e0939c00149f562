"""The figures of `jaxsparse decay`, each drawn from the records in its folder; nothing here simulates.

decay                 |weight| over the steps, a panel per optimizer and regularizer: Mehta et al. 2019, Figure 4
oscillation           Adam beside momentum SGD without a loss gradient, with theory: Yaguchi et al. 2018, Figure 4
doubly-exponential    the same of all optimizers, on an axis where doubly exponential decay is a straight line
steps-map             steps to 1e-12 over strength and learning rate, with theory's contours
conventions           where epsilon sits decides the floor
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from matplotlib.figure import Figure

from jaxsparse.report.decay.conventions import conventions
from jaxsparse.report.decay.curves import table_of
from jaxsparse.report.decay.panels import panels
from jaxsparse.report.decay.steps_map import steps_map
from jaxsparse.report.decay.zero_gradient import oscillation, straight

FIGURES: Mapping[str, tuple[Callable[..., Figure], tuple[str, ...]]] = {
    "decay": (panels, ("decay-curves",)),
    "oscillation": (oscillation, ("zero-gradient-curves", "zero-gradient-outcomes")),
    "doubly-exponential": (straight, ("zero-gradient-curves",)),
    "steps-map": (steps_map, ("map",)),
    "conventions": (conventions, ("conventions-curves", "conventions-outcomes")),
}
"""By name: what draws it, from which tables."""


def draw(name: str, folder: Path) -> Figure:
    """A figure of a folder of `jaxsparse decay`.

    Raises:
      InvalidInput: where its records are missing.
    """
    drawn, tables = FIGURES[name]
    return drawn(*(table_of(folder, table) for table in tables))
