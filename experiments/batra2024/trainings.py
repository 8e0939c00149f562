"""What is trained and pruned for Batra et al. 2024, all of it chosen before any run.

Left open by the paper, and filled in: the data are the digits (paper scale: CIFAR-10). `batranet` is trained by Adam at
1e-3 without a regularizer, with the schedule and batch of BasicNet at the same scale. Pruning is one-shot. Filters have
one threshold over the whole network (section 1.4), so that one of the twelve can go; slimming takes the L2 norm of each
channel of each filter. What is pruned is fine-tuned twice: by the paper's protocol (20 epochs of gradient descent at
1e-6, masks applied after each epoch), which hardly moves a weight, and for 20 epochs as the training ended (`own`).

BasicNet and the VGGs: the network to prune is trained by SGD with momentum and the weakest L2 of Mehta et al. 2019,
which leaves no filter of BasicNet dead; that of network slimming by SGD with L1 on gamma, of the strength of Liu et al.
2017; those of implicit sparsity by Adam with L2 of three strengths (on the VGGs: one). What is pruned is fine-tuned as
the training ended.

Controls (Liu et al. 2019): the architecture that keeps half, or a quarter, of the filters of each layer, from scratch,
for as many epochs as the network that was pruned, and for as many multiplications: epochs times the ratio of the two
networks' multiplications, where that is at most four (Liu et al. stop at twice the epochs; a quarter would take 13
times). What was fine-tuned has had 20 epochs more.

At embedded scale the networks are to be small and quick, not to show what dies by itself: BasicNet of four layers and
VGGs of an eighth of their width on digits, batches of 0.4 of those of Mehta et al. and 14,000 steps (VGG: 3,500), under
thirty times their strengths.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from experiments.papers import Setting
from experiments.prunings import Pruning, size_of
from experiments.scales import BASICNETS, Scale, phases
from jaxsparse import models
from jaxsparse.grid import Cell

FILTERS = 3
"""Of each of the four convolutions of `batranet`."""
SEEDS = {1: 5, 8: 3}
"""Networks, by how many times as many filters they have."""
WIDER = 8
PROTOCOLS = ("batra2024", "own")


SMALL_STEPS = {"BasicNet": 13_795, "VGG": 3_560}
"""By the beginning of the network's name: whole numbers of epochs that five measurements divide."""


def _small_network(setting: Setting) -> Mapping[str, Any]:
    if setting.network in BASICNETS:
        return {"model": "basicnet", "widths": tuple(width // 4 for width in BASICNETS[setting.network][:4])}
    return {"model": setting.network.lower(), "width": 1 / 8}


SMALL = Scale(
    name="embedded",
    data={"CIFAR10": "digits"},
    network=_small_network,
    steps=lambda setting: next(n for name, n in SMALL_STEPS.items() if setting.network.startswith(name)),
    seeds=lambda setting: 3,
    points=5,
)


def cells_of(scale: Scale, setting: Setting) -> list[Cell]:
    """The trainings of a setting, one a seed."""
    if scale.name != SMALL.name:
        return scale.cells(setting)
    strength = float(f"{30 * setting.strength:g}")
    return SMALL.cells(replace(setting, batch=round(0.4 * setting.batch), strength=strength))


@dataclass(frozen=True)
class Curve:
    """What a figure of the paper shows: a method and its shares."""

    title: str
    method: str
    shares: tuple[float, ...]
    printed: str
    """how `papers/batra2024_text.csv` names the method"""


WEIGHTS = (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
CURVES: Mapping[str, Curve] = {
    "figure1": Curve("Magnitude pruning of batranet", "magnitude", WEIGHTS, "magnitude"),
    "figure2": Curve(
        "Filter pruning of batranet",
        "filters-globally",
        tuple(n / 12 for n in (1, 2, 3, 4, 6, 8)),
        "filter pruning (Fig",
    ),
    "figure3": Curve(
        "Pruning of batranet's channels by L2 norm",
        "slimming",
        (1 / 30, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6),
        "network slimming",
    ),
    "figure4": Curve("Pruning within each filter of batranet", "hybrid", WEIGHTS, "hybrid"),
}
"""Shares of all weights, of the 12 filters, of the 30 channels (36 on colour images), of each filter's weights."""
MECHANISM = (("magnitude-convolutions", 0.5), ("magnitude-by-filter", 0.7))
"""For claim B-05: magnitude pruning of the convolutions alone, and without a global threshold."""
COMPARED: Mapping[str, tuple[float, ...]] = {
    "magnitude": (0.1, 0.5),
    "filters-globally": (1 / 12, 1 / 6, 1 / 4, 1 / 2),
    "slimming": (0.05, 0.1, 0.2, 0.4),
}
"""Methods and shares for which `batranet` is compared with a wider one."""

DENSE = Setting("BasicNet", "CIFAR10", "SGD", "L2", 1e-5, 40)
SLIMMED = replace(DENSE, regularizer="L1 on gamma", strength=1e-4)
IMPLICIT = tuple(replace(DENSE, optimizer="Adam", strength=strength) for strength in (1e-5, 1e-4, 1e-3))


@dataclass(frozen=True)
class Comparison:
    """What is compared on a network."""

    methods: Mapping[str, tuple[float, ...]]
    """with the shares: of the weights, of the weights of each filter, or of the filters"""
    implicit: tuple[Setting, ...]


ON_BASICNET = Comparison(
    {
        **dict.fromkeys(("magnitude", "hybrid", "random"), (0.5, 0.8, 0.9, 0.95)),
        **dict.fromkeys(("filters", "slimming", "random-filters"), (0.25, 0.5, 0.75, 0.875)),
    },
    IMPLICIT,
)
ON_VGG = Comparison(
    {"magnitude": (0.9,), **dict.fromkeys(("filters", "slimming", "random-filters"), (0.5,))}, IMPLICIT[1:2]
)
"""One point each: a VGG takes four times as long as BasicNet."""
COMPARISONS: Mapping[str, Comparison] = {"BasicNet": ON_BASICNET, "VGG-16": ON_VGG, "VGG-19": ON_VGG}
"""By network."""
DEAD = 1e-3
"""|gamma| below which a filter is dead (Mehta et al. 2019)."""
LONGEST = 4
"""Times the epochs of the network that was pruned that a control may take."""
SHARES = (0.5, 0.75)
"""Of the filters of each layer, for the controls and the structured results."""


def small(scale: Scale, wider: int = 1) -> list[Cell]:
    """Trainings of `batranet`, with so many times its filters."""
    (like, *_) = cells_of(scale, replace(DENSE, optimizer="Adam", strength=0.0))
    run = replace(like.run, model="batranet", widths=(wider * FILTERS,) * 4, head=None)
    return [replace(like, run=run, seed=seed) for seed in range(SEEDS[wider])]


def of(network: str, scale: Scale) -> list[list[Cell]]:
    """Trainings of a network, with its own batch: to prune, with L1 on gamma, and with each strength of Adam's L2."""
    settings = [replace(setting, network=network) for setting in (DENSE, SLIMMED, *COMPARISONS[network].implicit)]
    return [cells_of(scale, replace(setting, batch=phases(setting).batch)) for setting in settings]


def pruned(cells: Sequence[Cell], method: str, shares: Iterable[float], tuning: str) -> list[Pruning]:
    """Each network pruned to each share."""
    return [Pruning(cell, method, share, tuning) for share in shares for cell in cells]


def compared(network: str, scale: Scale) -> list[Pruning]:
    """Every method on one network."""
    methods, (dense, slimmed, *implicit) = COMPARISONS[network].methods, of(network, scale)
    return [
        *[one for method, shares in methods.items() for one in pruned(dense, method, shares, "own")],
        *pruned(slimmed, "slimming", methods["slimming"], "own"),
        *[one for cells in implicit for one in pruned(cells, "implicit", (DEAD,), "none")],
    ]


def controls(scale: Scale, share: float) -> Mapping[str, list[Cell]]:
    """The architecture without this share of each layer's filters, from scratch: for equal epochs, and for equal
    compute unless that takes more than `LONGEST` times the epochs."""
    dense = cells_of(scale, DENSE)
    run = dense[0].run
    widths = models.widths_of(run.model, run.width, run.widths)
    thin = replace(run, widths=tuple(width - round(share * width) for width in widths), width=1.0)
    every = max(1, round(run.epochs * size_of(run)[1] / size_of(thin)[1] / run.points))
    epochs = every * run.points
    longer = replace(thin, epochs=epochs, measure_every=every, milestones=phases(DENSE).stretched(epochs))
    runs = {"equal epochs": thin, "equal compute": longer}
    return {
        name: [replace(cell, run=run) for cell in dense]
        for name, run in runs.items()
        if run.epochs <= LONGEST * dense[0].run.epochs
    }
