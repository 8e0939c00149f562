"""What Retsinas et al. 2020 train, and how large it is at each scale; see `retsinas2020`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from experiments.scales import Scale
from experiments.studies import place
from jaxsparse import models
from jaxsparse.checks import require_choice
from jaxsparse.config import Hyper, Run, Target
from jaxsparse.grid import Cell, Start
from jaxsparse.rules import resolve


@dataclass(frozen=True)
class Training:
    """A training in the paper's words."""

    network: str = "WRN-16-8"
    dataset: str = "CIFAR100"
    method: str = "none"
    """`thresholding.METHODS`"""
    sparsity: float = 0.0
    """target; of the unconstrained method, where its bounds start"""
    strength: float = 0.0
    """lambda"""
    density: str = "parameters"
    """what sparsity and strength are of: `thresholding.SHARES`"""
    flops: Target | None = None
    """of the multiplications beside them: lambda_f and B_f of equation 10"""
    straight_through: bool = True
    share: float = 1.0
    """of the parameters of the network, in a dense equivalent"""
    adam: float | None = None
    """strength of L2, where Adam trains in place of SGD"""
    trained: bool = False
    """starts from the weights of the dense network, and trains as long as section 5.2 does from there"""

    @property
    def dense(self) -> Training:
        """The training whose weights it starts from, where it does."""
        return Training(self.network, self.dataset)

    @property
    def trains_bounds(self) -> bool:
        return self.method in ("budget", "hinge", "unconstrained")


@dataclass(frozen=True)
class Size:
    """How large the trainings of a scale are."""

    networks: Mapping[str, Mapping[str, Any]]
    """fields of `Run`, by the paper's name"""
    data: Mapping[str, str]
    batch: Mapping[str, int]
    epochs: Mapping[str, int]
    restarts: Mapping[str, int]
    sparsified: int
    """epochs from trained weights: the learning rate falls once, as between two restarts"""
    l2: float
    bound_rate: float
    """times the learning rate"""
    bound_rate_sparsified: float
    """the same from trained weights"""
    adam_rate: float
    seeds: int


def _each(value: int, **others: int) -> Mapping[str, int]:
    """The same for every data set but some."""
    return MappingProxyType({**dict.fromkeys(("CIFAR10", "CIFAR100", "ImageNet"), value), **others})


SIZES = {
    "paper": Size(
        networks={
            "WRN-16-8": {"model": "wrn-16-8"},
            "ResNet50": {"model": "resnet-50"},
            "AlexNet": {"model": "alexnet", "thresholded": "kernels"},
        },
        data={"CIFAR10": "cifar10", "CIFAR100": "cifar100", "ImageNet": "imagenet", "ImageNet, AlexNet": "imagenet"},
        batch=_each(128, ImageNet=256),
        epochs=_each(120, ImageNet=60),
        restarts=_each(40, ImageNet=20),
        sparsified=20,
        l2=5e-4,
        bound_rate=0.01,
        bound_rate_sparsified=0.01,
        adam_rate=1e-3,
        seeds=3,
    ),
    "embedded": Size(
        networks={
            "WRN-16-8": {"model": "wrn-10-1"},
            "ResNet50": {"model": "resnet-50", "width": 1 / 8},
            "AlexNet": {
                "model": "alexnet",
                "widths": (8, 24, 48, 32, 32),
                "head": (128, 128),
                "thresholded": "kernels",
            },
        },
        data={
            "CIFAR10": "digits",
            "CIFAR100": "cluttered-digits-10-2-1500",
            "ImageNet": "cluttered-digits-10-4-1500",
            "ImageNet, AlexNet": "digits",
        },
        batch=_each(50),
        epochs=_each(24),
        restarts=_each(8),
        sparsified=8,
        l2=5e-3,
        bound_rate=0.1,
        bound_rate_sparsified=0.3,
        adam_rate=3e-3,
        seeds=3,
    ),
}
POINTS = 6
"""Measurements during a training, at least."""
RATES: Mapping[str, float] = MappingProxyType({"AlexNet": 0.01})
"""Of SGD, where it is not 0.1: AlexNet has no normalisation."""


def cells_of(scale: Scale, training: Training) -> list[Cell]:
    """The trainings, one a seed; a `start` is a place among them."""
    size, name = SIZES[scale.name], training.dataset
    require_choice("data", name, tuple(size.epochs))
    network = size.networks[training.network]
    if training.share < 1:
        own = models.widths_of(network["model"], network.get("width", 1.0), network.get("widths", ()))
        network = {**network, "width": 1.0, "widths": models.thinned(own, training.share)}
    epochs, restarts, bound_rate = size.epochs[name], size.restarts[name], size.bound_rate
    if training.trained:
        epochs, restarts, bound_rate = size.sparsified, size.sparsified, size.bound_rate_sparsified
    run = Run(
        initialisation="he",
        data=size.data.get(f"{name}, {training.network}", size.data[name]),
        optimizer="sgd" if training.adam is None else "adam",
        regularizer="l2",
        batch=size.batch[name],
        epochs=epochs,
        restarts=restarts,
        measure_every=max(n for n in range(1, epochs // POINTS + 1) if epochs % n == 0),
        thresholding=training.method,
        straight_through=training.straight_through,
        density=(training.density, *(("flops",) if training.flops else ())),
        bound_rate=bound_rate if training.trains_bounds else None,
        **(network if training.method != "none" else {key: network[key] for key in network if key != "thresholded"}),
    )
    rate = size.adam_rate if training.adam is not None else RATES.get(training.network, 0.1)
    l2 = size.l2 if training.adam is None else training.adam * size.l2 / SIZES["paper"].l2
    constants = resolve(run.optimizer).constants(run.convention)
    first = Target(training.sparsity, training.strength)
    targets = () if training.method == "none" else (first, training.flops) if training.flops else (first,)
    hyper = Hyper(rate, float(f"{l2:g}"), constants, targets)
    starts: list[Start | None] = [None] * size.seeds
    if training.trained:
        starts = [Start(Path(place(cell))) for cell in cells_of(scale, training.dense)]
    return [Cell(run, hyper, seed, "l2", start) for seed, start in enumerate(starts)]


DENSE = Training()
BS, GA = (Training(method=method, sparsity=0.85) for method in ("binary-search", "gaussian"))
WAVG = Training(method="budget", sparsity=0.85, strength=10.0)
AVG = replace(WAVG, density="average")
HINGE = replace(WAVG, method="hinge")
STIFF = replace(WAVG, strength=100.0)
"""A penalty that gives way less. Added when budgets were seen to be missed by what the loss of the task gains, about
`1 / (2 lambda)` times that; no rule is decided by it."""
FLOPS = replace(WAVG, density="flops")
"""Equation 10 with lambda_p = 0."""
FLOPS_HINGE = replace(FLOPS, method="hinge")
BOTH = replace(WAVG, flops=Target(0.7, 10.0))
"""Equation 10 with both terms. The paper prints no training with lambda_f > 0."""
NO_STE = replace(GA, straight_through=False)
TARGETS = (0.7, 0.85, 0.95)
"""Of the trade-off curves; the paper does not print its own."""
FIXED = tuple(replace(GA, sparsity=target) for target in TARGETS)
BUDGET = tuple(replace(WAVG, sparsity=target) for target in TARGETS)
UNCONSTRAINED = tuple(
    Training(method="unconstrained", sparsity=0.5, strength=strength) for strength in (0.01, 0.3, 10.0)
)
"""Section 5.1: lambda in [0.01, 10]. Their bounds start at 0.6 of a half, as those of the released code."""
FREE = replace(UNCONSTRAINED[0], strength=0.0)
"""No sparsity loss at all: what the appendix says of the bounds' gradient."""
THIN = tuple(Training(share=round(1 - target, 2)) for target in TARGETS)
ADAM = tuple(Training(adam=strength) for strength in (1e-3, 1e-2))
"""Not in the paper: sparsity by Adam and L2 alone."""
EASY, EASY_THIN = Training(dataset="CIFAR10"), tuple(Training(dataset="CIFAR10", share=share) for share in (0.3, 0.05))
ALEXNET = (
    Training("AlexNet", "ImageNet"),
    Training("AlexNet", "ImageNet", "unconstrained", 0.5, 10.0, trained=True),
)
RESNET = Training("ResNet50", "ImageNet")
RESNET_FIXED, RESNET_BUDGET = (
    tuple(replace(RESNET, method=method, sparsity=target, strength=strength, trained=True) for target in (0.7, 0.95))
    for method, strength in (("gaussian", 0.0), ("budget", 10.0))
)
RESNET_THIN = (replace(RESNET, share=0.05),)

VARIANTS: Mapping[str, Training] = MappingProxyType(
    {"dense": DENSE, "fixed-BS": BS, "fixed-GA": GA, "budget-avg": AVG, "budget-wavg": WAVG}
)
"""Of table 2, by the paper's names, less the dense equivalent."""


Lines: TypeAlias = Mapping[str, tuple[Training, ...]]
"""Of a figure: trainings by name."""

TRADE_OFF: Lines = {
    "dense, thinner": (DENSE, *THIN),
    "fixed (Gaussian rule)": FIXED,
    "budget": BUDGET,
    "unconstrained": UNCONSTRAINED,
    "Adam and L2 alone": ADAM,
}
IMAGENET: Lines = {
    "dense, thinner": (RESNET, *RESNET_THIN),
    "fixed (Gaussian rule)": RESNET_FIXED,
    "budget": RESNET_BUDGET,
}
THINNER: Lines = {"harder data (CIFAR-100)": (DENSE, *THIN), "easier data (CIFAR-10)": (EASY, *EASY_THIN)}
