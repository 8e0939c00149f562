"""Mehta, Kim, Theobalt 2019: On Implicit Filter Level Sparsity in Convolutional Neural Networks (CVPR), and supplement.

Every table and figure as an entry: `python -m experiments mehta2019 table1 --scale embedded|mlp|paper`.

Cost. At embedded scale a step of BasicNet takes about 4 ms of a core of a server, a training six minutes, and all of
them (entries share trainings) some 20 hours of one core for BasicNet alone; an MLP's takes about half a minute.
`--kept` spreads them over days and machines. At paper scale an epoch of CIFAR with BasicNet is 103 TFLOP, so `table1`
(210 trainings of 325 epochs) is for an accelerator and some days; what it trains and about how long that takes is said
beforehand.

`python -m experiments list` has of each entry how many trainings it takes, the device-hours that were measured, and the
claims that it decides.

Expected. At paper scale what the papers print, which every entry shows beside its own figures. At embedded scale the
signs of the effects, as far as `python -m experiments claims` says that they were shown.

Figure 4 and the supplement's figure 3 need no network, and are one here. Figure 1 is a diagram of BasicNet, and the
supplement's figure 4 shows renders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure

from experiments.entries import Entry, drawn, save
from experiments.findings import Findings, read_rows
from experiments.measured import Measured
from experiments.mehta2019 import pictures
from experiments.papers import Setting
from experiments.scales import LEARNING_RATES, Scale, trainings
from experiments.tables import summarised, tabulated
from jaxsparse import decay
from jaxsparse.report import decay as pictures_of_decay

BASE = Setting("BasicNet", "CIFAR100", "Adam", "L2", 1e-4, 40)
"""The paper's default (section 5), on the data that most of its figures use."""
SGD = replace(BASE, optimizer="SGD", strength=5e-4)
SLIMMING = tuple(
    replace(BASE, optimizer="SGD", regularizer="L1 on gamma", strength=strength) for strength in (1e-5, 1e-4, 1e-3)
)
"""Network slimming (Liu et al. 2017, section 4: L1 on gamma with momentum SGD, of strength 1e-4 or 1e-5)."""
C5, C6 = 4, 5
"""Places among the layers."""

TABLES = {
    "table1": ("Optimizers and regularizers on CIFAR", "t1"),
    "table2": ("Layer by layer, CIFAR100", "t2"),
    "table3": ("Mini-batch sizes at equal iterations, CIFAR", "t3"),
    "table4": ("TinyImageNet", "t4"),
    "table5": ("ImageNet", "t5"),
    "table6": ("Widths of BasicNet", "t6"),
    "table7": ("VGG-16 on CIFAR, layer by layer", "t7"),
    "table8": ("VGG-16 on TinyImageNet and ImageNet", "t8"),
    "table9": ("VGG-11 on ImageNet", "t9"),
    "table10": ("VGG-19 on CIFAR", "t10"),
    "supplement-table1": ("Layer by layer, CIFAR10", "s1"),
    "supplement-table2": ("AMSGrad and leaky ReLU, CIFAR100", "s2"),
    "supplement-table3": ("Where beta starts, and how fast gamma and beta learn, CIFAR100", "s3"),
    "supplement-table4": ("AMSGrad, Adamax and RMSProp on CIFAR", "s4"),
    "clutter": ("Clean and cluttered backgrounds (section 3)", "text"),
}


def _evolution(name: str, title: str, settings: Sequence[Setting], layer: int) -> Entry:
    def draw(measured: Measured, root: Path) -> Figure:
        return pictures.evolution(measured, root, settings, layer)

    return drawn("mehta2019", name, title, draw, trainings(settings))


def _universality(name: str, title: str, settings: Sequence[tuple[str, Setting]]) -> Entry:
    def draw(measured: Measured, root: Path) -> Figure:
        del root
        return pictures.universality(measured, settings, layers=4)

    return drawn("mehta2019", name, title, draw, trainings(setting for _, setting in settings))


def _weak_and_strong(dataset: str) -> list[tuple[str, Setting]]:
    """The strengths are not in the text: those of figure 2, and the weakest that table 1 has of both optimizers."""
    settings = [replace(one, strength=strength) for one in (BASE, SGD) for strength in (1e-5, one.strength)]
    return [(f"{one.optimizer} {one.strength:g}", replace(one, dataset=dataset)) for one in settings]


DECAY = "decay"
"""Folder of `jaxsparse decay` among those of the trainings."""


SINGLE_WEIGHTS = Findings(
    "decay",
    ("optimizer", "regularizer", "strength", "seed", "steps_to_0.001", "final", "amplitude"),
    lambda root: read_rows(root / DECAY / "decay-outcomes.parquet"),
)
"""Outcomes of single weights, as in `decay-outcomes.parquet` of `jaxsparse decay`; they have no scale."""


PLAN = decay.Plan(
    optimizers=tuple(LEARNING_RATES),
    regularizers=("l2", "wd", "wd-lr"),
    strengths=(1e-5, 1e-4, 1e-3, 1e-2, 1e-1),
    protocol="low-gradient",
)
"""Of figure 4 and the supplement's figure 3; the strengths are lost. `wd-lr` is AdamW's decay, which Yaguchi et al.
speak of."""


def _single_weights(name: str, title: str) -> Entry:
    """Simulated where they are missing; `jaxsparse decay` is the same."""

    def simulate(scale: Scale, root: Path) -> None:
        del scale
        decay.write(PLAN, root / DECAY)

    def show(measured: Measured, root: Path) -> None:
        del measured
        save(pictures_of_decay.draw("decay", root / DECAY), root, "mehta2019", name, title)

    return Entry(name, title, show, follow=simulate, findings=(SINGLE_WEIGHTS,), on_mlp=True)


FIGURES = [
    _single_weights("figure4", "One weight under hardly any gradient, SGD and Adam"),
    _single_weights("supplement-figure3", "The same with every optimizer"),
    _evolution("figure2", "Gamma and beta of C6 over training", (replace(BASE, strength=1e-5), BASE, SGD), C6),
    _universality("figure3", "Universality under weak and strong L2, CIFAR100", _weak_and_strong("CIFAR100")),
    _universality(
        "figure5",
        "Universality by data set and mini-batch size",
        [
            ("CIFAR10", replace(BASE, dataset="CIFAR10")),
            *((f"CIFAR100, {batch}", replace(BASE, batch=batch)) for batch in (40, 160)),
            *((f"TinyImageNet, {batch}", replace(BASE, dataset="TinyImageNet", batch=batch)) for batch in (40, 120)),
        ],
    ),
    _evolution(
        "supplement-figure1", "Gamma and beta of C5 over training", (replace(BASE, strength=1e-5), BASE, SGD), C5
    ),
    _universality("supplement-figure2", "Universality under weak and strong L2, CIFAR10", _weak_and_strong("CIFAR10")),
]

ON_MLP = ("table1", "table3", "supplement-table2", "supplement-table3", "supplement-table4")
"""Tables of optimizers, batches and variants, which say something of units of an MLP too."""

ENTRIES = {
    **{name: tabulated(name, title, [f"mehta2019_{table}"], name in ON_MLP) for name, (title, table) in TABLES.items()},
    **{entry.name: entry for entry in FIGURES},
    "slimming": summarised("slimming", "Network slimming, to compare the layers of", SLIMMING),
}
