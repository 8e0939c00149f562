"""From a setting in a paper's words to a training: at the paper's own scale, or small enough for two cores.

Both scales say the same of a setting: which data, network, batch, schedule and strength. The embedded one plays every
role with a smaller part:

- data that ship with the package or are drawn by it, in the order of their difficulty;
- the networks' own widths divided by 4 (BasicNet without C5 to C7, as its images are small) or by 8 (VGG);
- batches of 0.4 of the paper's, and 14,000 steps (VGG: 3,500) where the paper takes 406,250 on CIFAR, so that the main
  table of one data set takes half an hour on two cores;
- thirty times the paper's strengths, because a regularizer works through its sum over the steps, of which there are a
  thirtieth.

So an embedded figure shows whether an effect is there, not how large the paper should have found it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from experiments.papers import Setting
from jaxsparse import data
from jaxsparse.config import Hyper, Run, require
from jaxsparse.grid import Cell
from jaxsparse.grid.declaration import PAPER_LEARNING_RATES, constants_of

PLAIN = "ObjectNet3D renderings, 30 classes, plain background"
CLUTTERED = "ObjectNet3D renderings, 30 classes, cluttered background"


class Phases(NamedTuple):
    """A training of `epochs` at `batch`, the learning rate divided by ten after each of `milestones`."""

    epochs: int
    milestones: tuple[int, ...]
    batch: int

    def stretched(self, epochs: int) -> tuple[int, ...]:
        """The milestones of a training of as many epochs, less those that it is too short for."""
        rounded = dict.fromkeys(round(epochs * milestone / self.epochs) for milestone in self.milestones)
        return tuple(milestone for milestone in rounded if 0 < milestone < epochs)


CIFAR, TINY = Phases(325, (250,), 40), Phases(400, (250, 325), 40)
IMAGENET = {
    "BasicNet": Phases(40, (15, 30), 64),
    "VGG-11": Phases(60, (30, 50), 60),
    "VGG-16": Phases(50, (20, 40), 40),
}
"""Mehta et al. 2019, section 2.1 and supplement S4. The factor of the VGGs on ImageNet is not printed; it is 10
elsewhere. For VGG-19 on CIFAR no schedule is printed: it has that of the others there, at its smaller batch."""


def phases(setting: Setting) -> Phases:
    """The paper's schedule of a setting."""
    if setting.dataset == "ImageNet":
        return IMAGENET[setting.network]
    if setting.dataset == "TinyImageNet":
        return TINY
    return CIFAR._replace(batch=64) if setting.network == "VGG-19" else CIFAR


OPTIMIZERS = ("SGD", "Adam", "AMSGrad", "Adamax", "RMSProp", "Adagrad", "Adadelta")
FORMS = {"L2": "l2", "WD": "wd", "L1 on gamma": "bn-l1", "": "none"}
ACTIVATIONS: Mapping[str, Mapping[str, Any]] = {
    "ReLU": {},
    "LeakyReLU(0.01)": {"activation": "leaky-relu", "slope": 0.01},
    "LeakyReLU(0.1)": {"activation": "leaky-relu", "slope": 0.1},
}
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "": {},
    "baseline: gamma_init=1, beta_init=0": {},
    "gamma_init=1, beta_init=-0.1": {"initial_beta": -0.1},
    "gamma_init=1, beta_init=1.0": {"initial_beta": 1.0},
    "LR scale for gamma: 0.1": {"gamma_rate": 0.1},
    "LR scale for beta: 0.1": {"beta_rate": 0.1},
}
"""Of the supplement's table 3."""


@dataclass(frozen=True)
class Scale:
    """How large an experiment is."""

    name: str
    data: Mapping[str, str]
    """by the paper's name"""
    network: Callable[[Setting], Mapping[str, Any]]
    """fields of `Run`"""
    batch: Callable[[int], int]
    """from the paper's"""
    strength: float
    """times the paper's"""
    epochs: Callable[[Setting, int, int], int]
    """from setting, batch and size of the training set"""
    points: int
    """measurements during a training, at least where the epochs allow"""
    seeds: Mapping[str, int]
    """how many, by data set"""

    def run(self, setting: Setting) -> Run:
        """The static part of a setting.

        Raises:
          InvalidInput: where the data are not known at this scale.
        """
        require(setting.dataset in self.data, "data", setting.dataset, "one of " + ", ".join(self.data))
        name, batch = self.data[setting.dataset], self.batch(setting.batch)
        epochs = self.epochs(setting, batch, data.describe(name).train_size)
        every = next(n for n in range(max(1, epochs // self.points), epochs + 1) if epochs % n == 0)
        return Run(
            data=name,
            optimizer=setting.optimizer.lower(),
            regularizer=FORMS[setting.regularizer] if setting.strength else "l2",
            batch=batch,
            epochs=epochs,
            measure_every=every,
            milestones=phases(setting).stretched(epochs),
            factor=0.1,
            **{**self.network(setting), **ACTIVATIONS[setting.activation], **VARIANTS[setting.setting]},
        )

    def cells(self, setting: Setting) -> list[Cell]:
        """The trainings of a setting, one a seed."""
        run, strength = self.run(setting), float(f"{self.strength * setting.strength:g}")
        hyper = Hyper(PAPER_LEARNING_RATES[run.optimizer], strength, constants_of(run.optimizer, run.convention))
        regularizer = run.regularizer if strength else "none"
        return [Cell(run, hyper, seed, regularizer) for seed in range(self.seeds[setting.dataset])]


def _paper_network(setting: Setting) -> Mapping[str, Any]:
    """The paper's own network: section 5 of Mehta et al. 2019 has the heads, section 5.1 the widths."""
    heads = {"TinyImageNet": {"head": (512, 256)}, "ImageNet": {"head": (4096, 2048)}}
    if setting.network in BASICNETS:
        widths = {"widths": BASICNETS[setting.network]} if setting.network != "BasicNet" else {}
        return {"model": "basicnet", **widths, **heads.get(setting.dataset, {})}
    return {"model": setting.network.lower()}


POINTS = 5
"""Measurements during a training."""

BASICNETS: Mapping[str, tuple[int, ...]] = {
    "BasicNet": (64, 128, 128, 256, 256, 512, 512),
    "BasicNet 64-1x": (64, 128, 128, 256, 256, 512, 512),
    "BasicNet 64-0.5x": (64, 64, 64, 128, 128, 256, 256),
    "BasicNet 32-0.25x": (32, 32, 32, 64, 64, 128, 128),
}
"""Mehta et al. 2019, section 5.1: the first layer and the others are narrowed on their own."""

PAPER = Scale(
    name="paper",
    data={
        "CIFAR10": "cifar10",
        "CIFAR100": "cifar100",
        "TinyImageNet": "tinyimagenet",
        "ImageNet": "imagenet",
        PLAIN: "objectnet3d",
        CLUTTERED: "objectnet3d-cluttered",
    },
    network=_paper_network,
    batch=lambda batch: batch,
    strength=1.0,
    epochs=lambda setting, batch, size: round(phases(setting).epochs * batch / phases(setting).batch),
    points=POINTS,
    seeds={"CIFAR10": 3, "CIFAR100": 3, "TinyImageNet": 2, "ImageNet": 1, PLAIN: 1, CLUTTERED: 1},
)

EMBEDDED_STEPS = {"BasicNet": 14_000, "VGG": 3_500}
"""Of the optimizer, by the beginning of the network's name."""


def _embedded_epochs(setting: Setting, batch: int, size: int) -> int:
    steps = next(steps for name, steps in EMBEDDED_STEPS.items() if setting.network.startswith(name))
    return POINTS * max(1, round(steps / (size // batch) / POINTS))


def _embedded_network(setting: Setting) -> Mapping[str, Any]:
    if setting.network in BASICNETS:
        return {"model": "basicnet", "widths": tuple(width // 4 for width in BASICNETS[setting.network][:4])}
    return {"model": setting.network.lower(), "width": 1 / 8}


EMBEDDED = Scale(
    name="embedded",
    data={
        "CIFAR10": "digits",
        "CIFAR100": "cluttered-digits-10-2-1500",
        "TinyImageNet": "cluttered-digits-12-4-1500",
        "ImageNet": "cluttered-digits-12-4-10000",
        PLAIN: "shapes-16x16x1-1500",
        CLUTTERED: "shapes-16x16x1-cluttered-1500",
    },
    network=_embedded_network,
    batch=lambda batch: round(0.4 * batch),
    strength=30.0,
    epochs=_embedded_epochs,
    points=POINTS,
    seeds={"CIFAR10": 3, "CIFAR100": 3, "TinyImageNet": 3, "ImageNet": 2, PLAIN: 3, CLUTTERED: 3},
)

SCALES = {scale.name: scale for scale in (PAPER, EMBEDDED)}


def trainings(settings: Iterable[Setting]) -> Callable[[Scale], list[Cell]]:
    """The trainings of several settings, by scale."""
    each = tuple(dict.fromkeys(settings))
    return lambda scale: [cell for setting in each for cell in scale.cells(setting)]
