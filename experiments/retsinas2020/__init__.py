"""Retsinas, Elafrou, Goumas, Maragos 2020: Weight pruning via adaptive sparsity loss.

Every table and figure as an entry: `python -m experiments retsinas2020 table2 --scale embedded|paper`.

What the paper does not state is filled in with the authors' released code, where that has it: batches of 128, SGD at
0.1 with momentum 0.9 and a decay of 5e-4, lambda 10, trained bounds at a hundredth of the learning rate and without
decay. On ImageNet the paper sparsifies trained networks of the PyTorch model zoo for 20 epochs; here they are trained
first, for the 60 epochs of its dense equivalents, and then sparsified for 20: how the learning rate goes there is not
stated, and falls along a cosine from where it began, as it does after a restart.

At embedded scale the same roles are played by smaller parts, chosen before any result was looked at: WRN-10-1 on
cluttered digits for WRN-16-8 on CIFAR-100, and on digits for CIFAR-10; ResNet-50 at an eighth of its widths among more
clutter for that on ImageNet; AlexNet at an eighth of its widths on digits. 24 epochs (720 steps) with restarts every 8
where the paper has 120 (46,800) with restarts every 40; decay and the bounds' learning rate are ten times as large,
because both work through their sum over the steps. Networks that are trained already are sparsified for 8 epochs, a
third as for the paper, with bounds at three times that learning rate, so that its sum is the same. Three seeds.

Weights start Gaussian (He et al. 2015), as is usual for these networks and as the Gaussian rule takes them to be. A
first attempt, of 36 epochs, started them uniform: then none is beyond 1.73 standard deviations, and a target of 95 %
zeroes a whole network before the first step, for good. It was stopped after the fixed runs, and nothing else changed
but the number of epochs and of strengths. Later ResNet-50 took the place of a WRN-10-1, trainings on ImageNet were
made to start from trained weights, and those with a budget of multiplications were added.

Cost. At embedded scale all entries together take about ten minutes on two cores that have nothing else to do. At paper
scale a training of WRN-16-8 is 120 epochs of CIFAR-100, 56 PFLOP, and figure 7 has 54 of them.

Expected. At paper scale what the paper prints: no loss of accuracy at 85 % zeros, and about 3.6 points for the dense
network of that size. At embedded scale the signs of the effects, as far as `python -m experiments claims` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure

from experiments.entries import Entry, drawn
from experiments.measured import Measured
from experiments.retsinas2020 import pictures, tables, trainings
from experiments.retsinas2020.networks import NETWORKS, follow
from experiments.retsinas2020.trainings import Lines, Training, cells_of
from experiments.scales import Scale
from jaxsparse.grid import Cell

VARIANTS: Mapping[str, Training] = {
    "dense": trainings.DENSE,
    "fixed-BS": trainings.BS,
    "fixed-GA": trainings.GA,
    "budget-avg": trainings.AVG,
    "budget-wavg": trainings.WAVG,
}
"""Of table 2, by the paper's names, less the dense equivalent."""
TABLES: Mapping[str, tuple[str, str, Mapping[str, Training]]] = {
    "table2": (
        "85 % zeros, WRN-16-8 on CIFAR-100",
        "retsinas2020_t2",
        {
            **VARIANTS,
            "dense equivalent": trainings.THIN[1],
            "budget, one-sided": trainings.HINGE,
            "budget, lambda 100": trainings.STIFF,
            "fixed-GA without STE": trainings.NO_STE,
        },
    ),
    "table3": (
        "AlexNet on ImageNet",
        "retsinas2020_t3",
        {"dense": trainings.ALEXNET[0], "unconstrained": trainings.ALEXNET[1]},
    ),
    "flops": (
        "Budgets of multiplications (equations 10 and 11)",
        "",
        {
            "multiplications 85 %": trainings.FLOPS,
            "one-sided": trainings.FLOPS_HINGE,
            "parameters 85 %, multiplications 70 %": trainings.BOTH,
            "parameters 85 %": trainings.WAVG,
        },
    ),
    "filters": (
        "Whole filters that die with their weights",
        "",
        {
            "fixed-GA 85 %": trainings.GA,
            "fixed-GA 95 %": trainings.FIXED[2],
            "budget 85 %": trainings.WAVG,
            "budget 95 %": trainings.BUDGET[2],
            **{f"Adam and L2 {one.adam:g}": one for one in trainings.ADAM},
        },
    ),
}
"""Title, file of the paper's figures and lines of each table. The last two are not in the paper."""
_BY_VARIANT: Lines = {name: (training,) for name, training in VARIANTS.items()}
FIGURES: Mapping[str, tuple[str, Callable[[Measured, pictures.Lines], Figure], Lines]] = {
    "figure1": (
        "Weights of the last convolution of each block of ResNet-50",
        pictures.blocks,
        {"ResNet-50": (trainings.RESNET,)},
    ),
    "figure3": (
        "Weights with and without straight-through gradients",
        pictures.weights,
        {"without": (trainings.NO_STE,), "straight-through": (trainings.GA,)},
    ),
    "figure4": ("Error of dense networks by their size", pictures.trade_off, trainings.THINNER),
    "figure5": ("Zeros in each layer at 85 %", pictures.by_layer, _BY_VARIANT),
    "figure6": ("Error over training at 85 %", pictures.courses, _BY_VARIANT),
    "figure7": ("Error by parameters that are not zero", pictures.trade_off, trainings.TRADE_OFF),
    "figure8": ("The same on ImageNet with ResNet-50", pictures.trade_off, trainings.IMAGENET),
    "bounds": (
        "Bounds without a sparsity loss, and with a budget",
        pictures.bounds,
        {"lambda 0": (trainings.FREE,), "budget 85 %": (trainings.WAVG,)},
    ),
}
"""Title, drawing and lines of each figure. The last one is what the paper's appendix says of bounds on their own."""


def _cells(chosen: Sequence[Training]) -> Callable[[Scale], list[Cell]]:
    """Those that others start from included."""
    dense = [training.dense for training in chosen if training.trained]
    return lambda scale: [cell for training in dict.fromkeys([*dense, *chosen]) for cell in cells_of(scale, training)]


def _followed(entry: Entry) -> Entry:
    """An entry that looks at the trained networks too."""
    return replace(entry, follow=lambda scale, root: follow(entry.cells(scale), root), findings=(NETWORKS,))


def _tabulated(name: str) -> Entry:
    title, printed, lines = TABLES[name]

    def show(measured: Measured, root: Path) -> None:
        del root
        found = {one: cells_of(measured.scale, training) for one, training in lines.items()}
        tables.show(f"{name}: {title}", measured, found, printed)

    return _followed(Entry(name, title, show, _cells(list(lines.values()))))


def _drawn(name: str) -> Entry:
    title, draw, lines = FIGURES[name]

    def figure(measured: Measured, root: Path) -> Figure:
        del root
        return draw(measured, {one: [cells_of(measured.scale, each) for each in own] for one, own in lines.items()})

    return _followed(
        drawn("retsinas2020", name, title, figure, _cells([each for own in lines.values() for each in own]))
    )


ENTRIES = {**{name: _tabulated(name) for name in TABLES}, **{name: _drawn(name) for name in FIGURES}}
