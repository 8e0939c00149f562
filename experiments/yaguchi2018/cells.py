"""What Yaguchi et al. 2018 trained, as cells at the paper's scale and at one for two cores.

Lost in the text at hand, and chosen here (section 5 of the paper's own experiments has no more):

- The strength of L2: 5e-4, the decay of the CIFAR network that they take over (Zagoruyko 2015), under every optimizer.
- The threshold of the norms: 1e-3. It is above the cycle that Adam leaves a dead weight in (`js.theory.cycle_amplitude`
  gives 3e-6 at the last learning rate) and far below the norms of what lives, about 0.5 at the start. The entry
  `sensitivity` shows other thresholds and strengths.
- Adam's constants: its defaults, and 1e-3 (VGG: the printed 5e-4). Momentum 0.9 at 0.1, Adagrad at 1e-2, RMSprop at
  1e-3 with its default memory.
- The slopes of figure 5 and the strengths of figure 7 and table 6: see `SLOPES`, `FACTORS`, `LASSOS`.
- Which activation functions table 2 has beside ReLU and ELU: tanh, sigmoid and leaky ReLU.

The embedded scale has about a quarter of the steps of the paper's MNIST, 1000 epochs of 22 batches of the real digits
that ship with the package, and 0.3 of its units: 300 in the hidden layer. So strengths are 4 times as large, and the
second moment's memory is 100 steps in place of 1000, as in the other experiments at this scale. Depth is studied with
100 units a layer, the network of table 6 has 0.3 of its widths, figure 7 takes one layer of 150 units in place of the
VGG. The VGG is the first two groups of VGG-16 at half width on digits, 96 epochs of 89 batches with the schedule of the
fully connected networks. The sizes were chosen by what a step costs, so that all trainings take about eight minutes on
two idle cores.

What was tried before: a quarter of these epochs and 16 times the strength, which is the same product of steps and
strength. Hardly any unit died. With 1000 units 0.7 ± 0.3 % by norm with Adam, 1.7 with RMSprop, and 19.4 without batch
normalisation; of the VGG's parameters, at the best epoch, none with Adam and 7.5 ± 3.0 % with mSGD (three seeds each).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from experiments.scales import Scale
from jaxsparse.config import Hyper, Run
from jaxsparse.grid import Cell
from jaxsparse.grid.declaration import PAPER_LEARNING_RATES, constants_of

L2 = 5e-4
"""Of the paper's scale."""
FACTORS = (1 / 16, 1 / 4, 1, 4, 16)
"""Multiples of `L2`: the first four for sensitivity, the last four in figure 7."""
LASSOS = (2e-5, 6e-5, 2e-4, 6e-4)
"""Strengths of group lasso by its subgradient, of the paper's scale. Momentum adds up to ten steps of a subgradient and
none of a proximal step, so the proximal form takes ten times the strength for the same pull."""
MOMENTUM = 0.9
SLOPES = (0.0, 0.01, 0.1, 0.3)
WIDTHS = (10, 50, 100, 500, 1000, 2000)
DEPTHS = (1, 2, 3, 4, 5)
VGG_RATE = 5e-4
"""Of adaptive optimizers (section V-A)."""

Study = Mapping[str, Sequence[Cell]]
"""The trainings of an entry: the seeds of each setting, by its name."""


@dataclass(frozen=True)
class Size:
    """How large the experiments are."""

    dense: Run
    """table I: one hidden layer"""
    vgg: Run
    widths: tuple[int, ...]
    """of table 3, one for each of `WIDTHS`"""
    deep: int
    """units in each layer of the depth study"""
    wen: tuple[int, int]
    """hidden layers of the network that Wen et al. and table 6 have"""
    traded: Run
    """the network of figure 7"""
    multiplier: float
    """of strengths"""
    b2: float
    often: int
    """epochs between measurements where norms are followed"""
    seeds: int
    """of all but figure 7, which has five"""

    def cells(
        self,
        run: Run,
        optimizer: str = "adam",
        regularizer: str = "l2",
        strength: float = L2,
        rate: float | None = None,
        seeds: int | None = None,
    ) -> list[Cell]:
        """The trainings of a setting, one a seed; `strength` is that of the paper's scale."""
        constants = constants_of(optimizer, run.convention)
        constants = {**constants, **({"b2": self.b2} if "b2" in constants else {})}
        strength = 0.0 if regularizer == "none" else float(f"{self.multiplier * strength:g}")
        rate = PAPER_LEARNING_RATES[optimizer] if rate is None else rate
        run = replace(run, optimizer=optimizer, regularizer="l2" if regularizer == "none" else regularizer)
        return [Cell(run, Hyper(rate, strength, constants), seed, regularizer) for seed in range(seeds or self.seeds)]

    def followed(self, optimizer: str) -> list[Cell]:
        """The first setting of table 2 whose norms are drawn over the steps, under Adam or momentum SGD."""
        return self.cells(replace(self.dense, measure_every=self.often), optimizer)


_DENSE = Run(widths=(1000,), batch=64, factor=0.5)
_MNIST = replace(_DENSE, data="mnist", epochs=100, measure_every=4, milestones=(25, 50, 75))
_DIGITS = replace(_DENSE, data="digits", widths=(300,), epochs=1000, measure_every=50, milestones=(250, 500, 750))
_VGG = Run(model="vgg-16", dropout=True, initialisation="he", factor=0.5, measure_every=1)
_CIFAR = replace(_VGG, data="cifar10", epochs=400, batch=64, milestones=tuple(range(25, 400, 25)))

SIZES: Mapping[str, Size] = {
    "paper": Size(
        dense=_MNIST,
        vgg=_CIFAR,
        widths=WIDTHS,
        deep=1000,
        wen=(500, 300),
        traded=_CIFAR,
        multiplier=1.0,
        b2=0.999,
        often=1,
        seeds=3,
    ),
    "embedded": Size(
        dense=_DIGITS,
        vgg=replace(
            _VGG,
            data="digits",
            widths=(32, 32, 64, 64),
            head=(64,),
            epochs=96,
            measure_every=4,
            batch=16,
            milestones=(24, 48, 72),
        ),
        widths=tuple(3 * width // 10 for width in WIDTHS),
        deep=100,
        wen=(150, 90),
        traded=replace(_DIGITS, widths=(150,)),
        multiplier=4.0,
        b2=0.99,
        often=4,
        seeds=4,
    ),
}
"""By the name of the scale."""


def of(scale: Scale) -> Size:
    """The size of the experiments at a scale."""
    return SIZES[scale.name]


def conditions(size: Size) -> Study:
    """Table 2: optimizer, activation function, and the rest."""
    run = size.dense
    return {
        "Adam, ReLU (baseline)": size.followed("adam"),
        "mSGD": size.followed("sgd"),
        "Adagrad": size.cells(run, "adagrad"),
        "RMSprop": size.cells(run, "rmsprop"),
        "ELU": size.cells(replace(run, activation="elu")),
        "tanh": size.cells(replace(run, activation="tanh")),
        "sigmoid": size.cells(replace(run, activation="sigmoid")),
        "leaky ReLU": leaky(size, 0.1),
        "He init.": size.cells(replace(run, initialisation="he")),
        "w/o BN": size.cells(replace(run, batch_norm=False)),
        "w/o reg.": size.cells(run, regularizer="none"),
    }


def leaky(size: Size, slope: float) -> list[Cell]:
    """The baseline with a slope below zero; 0: the baseline itself."""
    if slope == 0:
        return size.followed("adam")
    return size.cells(replace(size.dense, activation="leaky-relu", slope=slope))


def slopes(size: Size) -> Study:
    """Figure 5."""
    return {f"{slope:g}": leaky(size, slope) for slope in SLOPES}


def widths(size: Size) -> Study:
    """Table 3, by the paper's widths."""
    pairs = zip(WIDTHS, size.widths, strict=True)
    found = {str(theirs): size.cells(replace(size.dense, widths=(ours,))) for theirs, ours in pairs}
    return {**found, "1000": size.followed("adam")}


def depths(size: Size) -> Study:
    """Table 4."""
    found = {str(depth): size.cells(replace(size.dense, widths=(size.deep,) * depth)) for depth in DEPTHS}
    return {**found, **({"1": size.followed("adam")} if (size.deep,) == size.dense.widths else {})}


def vggs(size: Size) -> Study:
    """Table 5, and figure 6."""
    return {
        "mSGD": size.cells(size.vgg, "sgd", seeds=3),
        "AMSGrad": size.cells(size.vgg, "amsgrad", rate=VGG_RATE, seeds=3),
        "AdamW": size.cells(size.vgg, "adam", "wd-lr", rate=VGG_RATE, seeds=3),
        "Adam": size.cells(size.vgg, "adam", rate=VGG_RATE, seeds=3),
    }


def against_wen(size: Size) -> Study:
    """Table 6: without batch normalisation, from He initialisation. Wen et al.: group lasso by its subgradient."""
    run = replace(size.dense, widths=size.wen, batch_norm=False, initialisation="he")
    lassos = {_named("group lasso", s, size): size.cells(run, "sgd", "group-lasso", s) for s in LASSOS[1:]}
    return {"Adam, L2": size.cells(run), **lassos}


def sensitivity(size: Size) -> Study:
    """The baseline under other strengths."""
    found = {factor: size.cells(size.dense, strength=factor * L2) for factor in FACTORS[:-1]}
    found[1] = size.followed("adam")
    return {f"{factor * L2 * size.multiplier:g}": cells for factor, cells in found.items()}


METHODS = {
    "Adam, L2": ("adam", "l2"),
    "group lasso, proximal": ("sgd", "proximal-group-lasso"),
    "group lasso, subgradient": ("sgd", "group-lasso"),
}
"""Figure 7: optimizer and regularizer."""


def traded(size: Size, method: str) -> Study:
    """Figure 7: five seeds of a method under rising strengths."""
    optimizer, regularizer = METHODS[method]
    pull = 1 / (1 - MOMENTUM) if regularizer == "proximal-group-lasso" else 1.0
    strengths = [factor * L2 for factor in FACTORS[1:]] if regularizer == "l2" else [pull * one for one in LASSOS]
    rate = VGG_RATE if size.traded.model != "mlp" and optimizer == "adam" else None
    return {
        _named(method, strength, size): size.cells(size.traded, optimizer, regularizer, strength, rate, seeds=5)
        for strength in strengths
    }


def _named(method: str, strength: float, size: Size) -> str:
    return f"{method} {size.multiplier * strength:g}"
