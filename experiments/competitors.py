"""Methods of other papers that Mehta et al. 2019 quote beside their own (tables 7 and 10), made here to compare with.

What they were trained with is not quoted: here SGD with momentum, as in their papers. They are pruned at once, to the
quoted shares, and fine-tuned for 20 epochs as the training ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from experiments.measured import Measured
from experiments.papers import Printed, Setting
from experiments.prunings import Pruning, found
from experiments.scales import Scale
from jaxsparse import models

TUNING = "own"


@dataclass(frozen=True)
class Competitor:
    """A method of another paper."""

    setting: Setting
    """that the network to prune is trained with, less network and data"""
    method: str
    shares: Mapping[str, float] = field(hash=False)
    """of filters pruned, by data set"""

    def prunings(self, scale: Scale, setting: Setting) -> list[Pruning]:
        """On the network and data of a setting."""
        trained = replace(self.setting, network=setting.network, dataset=setting.dataset)
        return [Pruning(cell, self.method, self.shares[setting.dataset], TUNING) for cell in scale.cells(trained)]

    def ours(self, measured: Measured, figure: Printed) -> np.ndarray:
        """Our values of a quoted figure, one a seed; none where they were not made."""
        wanted = self.prunings(measured.scale, figure.setting)
        cells = [one.cell for one in wanted]
        rows = found(measured, cells, self.method, wanted[0].amount, TUNING)
        if figure.metric == "test_error":
            return np.asarray([100 - row["accuracy"] for row in rows], float)
        run = cells[0].run
        widths = np.asarray(models.widths_of(run.model, run.width, run.widths))
        left = np.asarray([row["widths_left"].split("-") for row in rows], int).reshape(-1, len(widths))
        if figure.layer.startswith("C"):
            number = int(figure.layer[1:]) - 1
            return 100 * (1 - left[:, number] / widths[number])
        return 100 * (1 - left.sum(1) / widths.sum())


SGD = Setting("VGG-16", "CIFAR10", "SGD", "L2", 5e-4, 64)
COMPETITORS: Mapping[str, Competitor] = {
    "Li et al. (2017), handcrafted": Competitor(SGD, "handcrafted", {"CIFAR10": 0.5}),
    "Liu et al. (2017)": Competitor(
        replace(SGD, regularizer="L1 on gamma", strength=1e-4), "slimming", {"CIFAR10": 0.7, "CIFAR100": 0.5}
    ),
}


def competitor_of(figure: Printed) -> Competitor | None:
    """Whom a figure is quoted from, where that can be made here."""
    found = COMPETITORS.get(figure.method)
    return found if found is not None and figure.setting.dataset in found.shares else None


def competition(figures: Sequence[Printed]) -> Callable[[Scale], list[Pruning]]:
    """The prunings that quoted figures are compared with, by scale."""
    pairs = dict.fromkeys((competitor_of(figure), figure.setting) for figure in figures)
    return lambda scale: [one for found, setting in pairs if found for one in found.prunings(scale, setting)]
