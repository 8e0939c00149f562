"""From a setting in a paper's words to a training: at the paper's own scale, or small enough for two cores.

All scales have the paper's strengths, learning rates, constants, batches and schedules. What differs is the network,
the images, and the number of steps, which is printed as a factor with every table (`Scale.factor`):

- `paper`: the paper's own.
- `embedded`: its convolutional networks with an eighth of their filters, on real digits in small images, for a fifth of
  its steps on CIFAR.
- `mlp`: an MLP of 300 units in the place of BasicNet, on images of the same kind, for all of the paper's steps. It has
  no layers to compare, and no filters: what dies are units. With 128 units, tried first for its time, there was none
  to spare: of 35 trainings none lost any up to L2 1e-3, with SGD or Adam (Adam 2.3 % at 2e-3, 40.9 % at 1e-2). 300
  are what was tried before anything else.

Nothing replaces steps. A regularizer works through its sum over the steps, an adaptive method through the learning rate
times the steps, and the loss holds a unit against the strength itself; a factor on strengths keeps the first and breaks
the others. What fewer steps come to is said by `Scale.regime`.

The roles' data were chosen by SGD without a regularizer, before any sparsity was looked at. They were to be learnt but
not known by heart, with a training loss of 0.02 to 0.1 at the end and a test error near 10 % in the role of CIFAR10 and
35 % in that of CIFAR100. One seed each gave (training loss, test error):

    embedded  CIFAR10   cluttered-digits-12-2-20000 0.03, 9.2 (13,000 steps), 12-3-20000 0.08, 15.7 (13,000 steps),
                        12-3-100000 0.11, 10.0 (65,000 steps): taken, as 32 epochs do not learn it by heart
              CIFAR100  paired-digits-12-0-20000 0.007, 24.2, 11-0-20000 0.04, 27.3 (both 78,000 steps), 12-1-25000
                        0.32, 41.1 (62,500 steps, at the first learning rate still): taken
    mlp       CIFAR10   cluttered-digits-10-1-25000 0.004, 7.2, 11-1-25000 0.008, 9.5, 12-1-25000 0.01, 11.6, 11-1-50000
                        0.02, 7.8, 10-2-50000 0.07, 14.4, 12-2-50000 0.12, 19.2, 12-1-50000 0.03, 10.0: taken
              CIFAR100  10-2-100000 0.14, 11.8, 12-3-25000 0.08, 35.0: taken
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from experiments.papers import Setting
from jaxsparse import data
from jaxsparse.checks import require
from jaxsparse.config import Hyper, Run
from jaxsparse.grid import Cell

PLAIN = "ObjectNet3D renderings, 30 classes, plain background"
CLUTTERED = "ObjectNet3D renderings, 30 classes, cluttered background"
CIFARS = ("CIFAR10", "CIFAR100")


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


LEARNING_RATES: Mapping[str, float] = {
    "sgd": 0.1,
    "adam": 1e-3,
    "amsgrad": 1e-3,
    "adamax": 2e-3,
    "rmsprop": 1e-3,
    "adagrad": 1e-2,
    "adadelta": 1.0,
}
"""Of Mehta et al. 2019: section 2.1, and the caption of the supplement's figure 3. They stand here and not in the
package's defaults, which may change without changing a paper."""
IMAGENET_RATES: Mapping[str, float] = {"adam": 1e-4}
"""Those that differ on ImageNet (supplement S4)."""
CONSTANTS: Mapping[str, Mapping[str, float]] = {
    "sgd": {"momentum": 0.9},
    "adam": {"b1": 0.9, "b2": 0.99, "eps": 1e-8},
    "amsgrad": {"b1": 0.9, "b2": 0.99, "eps": 1e-8},
    "adamax": {"b1": 0.9, "b2": 0.999, "eps": 1e-8},
    "rmsprop": {"decay": 0.99, "eps": 1e-8},
    "adagrad": {"eps": 1e-10, "initial_accumulator_value": 0.0},
    "adadelta": {"rho": 0.9, "eps": 1e-6},
}
"""Of SGD, Adam and Adadelta as section 2.1 states them. AMSGrad's are not stated and taken to be Adam's; Adamax,
RMSProp and Adagrad have the defaults of PyTorch, the paper's framework."""
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


def _measured_in(exact: float, points: int) -> tuple[int, int]:
    """Whole epochs, within 1 % of a number that is not whole, and epochs between measurements, which divide them into
    about so many points."""
    near = range(math.ceil(0.99 * exact), math.floor(1.01 * exact) + 1)
    whole = abs(exact - round(exact)) < 1e-3 or not near
    lengths = [max(1, round(exact))] if whole else near
    pairs = [(epochs, every) for epochs in lengths for every in range(1, epochs + 1) if epochs % every == 0]
    return min(pairs, key=lambda pair: (abs(math.log(pair[1] * points / pair[0])), abs(pair[0] - exact)))


@dataclass(frozen=True)
class Scale:
    """How large an experiment is: which data and networks play those of the paper, and for how many steps."""

    name: str
    data: Mapping[str, str]
    """by the paper's name"""
    network: Callable[[Setting], Mapping[str, Any]]
    """fields of `Run`"""
    steps: Callable[[Setting], int]
    """of the optimizer, in all"""
    seeds: Callable[[Setting], int]
    """how many trainings of a setting; none where it is left out"""
    points: int
    """measurements during a training, about: as many as divide its epochs"""

    def run(self, setting: Setting) -> Run:
        """The static part of a setting.

        Raises:
          InvalidInput: where the data are not known at this scale.
        """
        require(setting.dataset in self.data, "data", setting.dataset, "one of " + ", ".join(self.data))
        name = self.data[setting.dataset]
        exact = self.steps(setting) * setting.batch / data.describe(name).train_size
        epochs, every = _measured_in(exact, self.points)
        return Run(
            data=name,
            optimizer=setting.optimizer.lower(),
            regularizer=FORMS[setting.regularizer] if setting.strength else "l2",
            batch=setting.batch,
            epochs=epochs,
            measure_every=every,
            milestones=phases(setting).stretched(epochs),
            factor=0.1,
            **{**self.network(setting), **ACTIVATIONS[setting.activation], **VARIANTS[setting.setting]},
        )

    def cells(self, setting: Setting) -> list[Cell]:
        """The trainings of a setting, one a seed; none where it is left out at this scale."""
        if not self.seeds(setting):
            return []
        run = self.run(setting)
        rates = {**LEARNING_RATES, **(IMAGENET_RATES if setting.dataset == "ImageNet" else {})}
        hyper = Hyper(rates[run.optimizer], setting.strength, CONSTANTS[run.optimizer])
        regularizer = run.regularizer if setting.strength else "none"
        return [Cell(run, hyper, seed, regularizer) for seed in range(self.seeds(setting))]

    def trained(self, settings: Iterable[Setting]) -> list[Setting]:
        """Those that are not left out at this scale."""
        return [one for one in settings if self.seeds(one)]

    def factor(self, setting: Setting) -> float:
        """How many times as many steps the paper takes."""
        return paper_steps(setting) / self.steps(setting)

    def regime(self, setting: Setting) -> str:
        """What the number of steps comes to, beside the paper's: how often Adam can take a weight from 1 to 0, at most
        a learning rate a step; and the exponent with which SGD with momentum 0.9 shrinks a weight that has no loss
        gradient, under L2 1e-4."""
        factor = self.factor(setting)
        if factor == 1:
            return "all of the paper's steps"
        schedule = phases(setting)
        ends = (0, *schedule.milestones, schedule.epochs)
        mean = sum((b - a) / 10**number for number, (a, b) in enumerate(pairwise(ends))) / schedule.epochs
        theirs, ours = (mean * steps for steps in (paper_steps(setting), self.steps(setting)))
        falls, shrinks = LEARNING_RATES["adam"], 1e-4 * LEARNING_RATES["sgd"] / (1 - CONSTANTS["sgd"]["momentum"])
        adam = f"Adam can take a weight from 1 to 0 {falls * ours:.0f} times (paper {falls * theirs:.0f})"
        sgd = f"SGD under L2 1e-4 shrinks it by e^-{shrinks * ours:.1f} (e^-{shrinks * theirs:.0f})"
        return f"1/{factor:.2g} of the paper's steps: {adam}, {sgd}"


PAPER_DATA: Mapping[str, str] = {
    "CIFAR10": "cifar10",
    "CIFAR100": "cifar100",
    "TinyImageNet": "tinyimagenet",
    "ImageNet": "imagenet",
    PLAIN: "objectnet3d",
    CLUTTERED: "objectnet3d-cluttered",
}


def paper_steps(setting: Setting) -> int:
    """Of the optimizer in the paper's training: its epochs at the batch of its schedule, the same for every batch
    (section 5)."""
    schedule = phases(setting)
    return schedule.epochs * data.describe(PAPER_DATA[setting.dataset]).train_size // schedule.batch


def _paper_network(setting: Setting) -> Mapping[str, Any]:
    """The paper's own network: section 5 of Mehta et al. 2019 has the heads, section 5.1 the widths."""
    heads = {"TinyImageNet": {"head": (512, 256)}, "ImageNet": {"head": (4096, 2048)}}
    if setting.network in BASICNETS:
        widths = {"widths": BASICNETS[setting.network]} if setting.network != "BasicNet" else {}
        return {"model": "basicnet", **widths, **heads.get(setting.dataset, {})}
    return {"model": setting.network.lower()}


BASICNETS: Mapping[str, tuple[int, ...]] = {
    "BasicNet": (64, 128, 128, 256, 256, 512, 512),
    "BasicNet 64-1x": (64, 128, 128, 256, 256, 512, 512),
    "BasicNet 64-0.5x": (64, 64, 64, 128, 128, 256, 256),
    "BasicNet 32-0.25x": (32, 32, 32, 64, 64, 128, 128),
}
"""Mehta et al. 2019, section 5.1: the first layer and the others are narrowed on their own."""

POINTS = 13
"""They divide the 325 epochs of CIFAR."""
_SEEDS = {"CIFAR10": 3, "CIFAR100": 3, "TinyImageNet": 2, "ImageNet": 1, PLAIN: 1, CLUTTERED: 1}

PAPER = Scale(
    name="paper",
    data=PAPER_DATA,
    network=_paper_network,
    steps=paper_steps,
    seeds=lambda setting: _SEEDS[setting.dataset],
    points=POINTS,
)
"""Seeds as in the supplement, S4."""

EMBEDDED_STEPS = {"BasicNet": 81_250, "VGG": 65_000}
"""By the beginning of the network's name: a fifth of the 406,250 on CIFAR, and 0.16 of them."""


def _small_network(setting: Setting) -> Mapping[str, Any]:
    """An eighth of the filters; dense layers are the paper's."""
    if setting.network in BASICNETS:
        return {"model": "basicnet", "widths": tuple(width // 8 for width in BASICNETS[setting.network])}
    return {"model": setting.network.lower(), "width": 1 / 8}


KEPT: Mapping[tuple[str, str], tuple[float, ...]] = {
    ("SGD", "L2"): (1e-3, 5e-4, 1e-4, 1e-5, 0),
    ("SGD", "WD"): (1e-3, 5e-4, 1e-4),
    ("SGD", "L1 on gamma"): (1e-3, 1e-4, 1e-5),
    ("Adam", "L2"): (1e-3, 1e-4, 1e-5, 0),
    ("Adam", "WD"): (1e-3, 2e-4, 1e-4),
    ("Adadelta", "L2"): (1e-3, 1e-4),
    ("Adagrad", "L2"): (1e-2, 1e-4),
    ("AMSGrad", "L2"): (1e-4, 1e-6),
    ("Adamax", "L2"): (1e-4, 1e-6),
    ("RMSProp", "L2"): (1e-4, 1e-6),
}
"""Strengths of the paper's that are trained at the small scales, by optimizer and regularizer; at embedded scale other
batches than 40 only at 1e-4."""


def _seeds_of_small(setting: Setting) -> int:
    kept = setting.strength in KEPT[setting.optimizer, setting.regularizer]
    usual = setting.batch == 40 or setting.strength == 1e-4 or setting.network.startswith("VGG")
    return 3 if kept and usual else 0


EMBEDDED = Scale(
    name="embedded",
    data={
        "CIFAR10": "cluttered-digits-12-3-100000",
        "CIFAR100": "paired-digits-12-1-25000",
        "TinyImageNet": "paired-digits-12-2-25000",
        "ImageNet": "paired-digits-12-2-200000",
        PLAIN: "shapes-16x16x1-25000",
        CLUTTERED: "shapes-16x16x1-cluttered-25000",
    },
    network=_small_network,
    steps=lambda setting: next(n for name, n in EMBEDDED_STEPS.items() if setting.network.startswith(name)),
    seeds=_seeds_of_small,
    points=POINTS,
)

MLP_SEEDS = {"CIFAR10": 5, "CIFAR100": 3}


def _seeds_of_mlp(setting: Setting) -> int:
    kept = setting.strength in KEPT[setting.optimizer, setting.regularizer]
    return MLP_SEEDS.get(setting.dataset, 0) if kept and setting.network == "BasicNet" else 0


MLP = Scale(
    name="mlp",
    data={"CIFAR10": "cluttered-digits-12-1-50000", "CIFAR100": "cluttered-digits-12-3-25000"},
    network=lambda setting: {"model": "mlp", "widths": (300,)},
    steps=paper_steps,
    seeds=_seeds_of_mlp,
    points=POINTS,
)

SCALES = {scale.name: scale for scale in (PAPER, EMBEDDED, MLP)}


def trainings(settings: Iterable[Setting]) -> Callable[[Scale], list[Cell]]:
    """The trainings of several settings, by scale."""
    each = tuple(dict.fromkeys(settings))
    return lambda scale: [cell for setting in each for cell in scale.cells(setting)]
