"""Mehta, Kim, Theobalt 2018: Implicit Filter Sparsification in Convolutional Neural Networks (ICML workshop).

A summary of what became Mehta et al. 2019; its tables are rows of that paper's, and so are its claims.
"""

from __future__ import annotations

import math
from pathlib import Path

import jax
from flax import nnx

from experiments.claims import NOT_RUN, NOT_SHOWN, SHOWN, UNDECIDABLE, NotRun, Rule, Verdict, judge, premise
from experiments.entries import Entry
from experiments.measured import Measured
from experiments.mehta2018 import universal
from experiments.mehta2019 import BASE
from experiments.mehta2019 import claims as larger
from experiments.scales import PAPER, Scale
from experiments.tables import table, tabulated
from jaxsparse import trees
from jaxsparse.report import table as style
from jaxsparse.train import network

TITLES = {
    "table1": "Optimizers and regularizers on CIFAR",
    "table2": "Mini-batch sizes, CIFAR",
    "table3": "Mini-batch sizes, TinyImageNet",
    "table4": "VGG-16 on CIFAR",
    "table5": "VGG-16 on TinyImageNet and ImageNet",
    "table6": "VGG-11 on ImageNet",
    "table7": "VGG-19 on CIFAR",
}

CONVOLUTION_PARAMETERS = 4_649_664
"""Of BasicNet: what table 2 of Mehta et al. 2019 prints of it, as the diagram is lost."""


def _parameters(scale: Scale) -> dict[str, tuple[int, ...]]:
    """Shapes of BasicNet's parameters by name, on CIFAR."""
    model = nnx.eval_shape(lambda: network(scale.run(BASE), jax.random.key(0)))
    return {name: leaf.shape for name, leaf in trees.flatten(nnx.as_pure(nnx.state(model, nnx.Param))).items()}


def _show_diagram(measured: Measured, root: Path) -> None:
    del root
    shapes = _parameters(measured.scale)
    lines = [[name, "x".join(map(str, shape)), f"{math.prod(shape):,}"] for name, shape in shapes.items()]
    title = f"figure1: BasicNet ({measured.scale.name} scale)"
    style.console().print(table(title, ["parameter", "shape", "numbers"], lines, caption="the diagram is lost"))


def _is_the_diagram(measured: Measured) -> Verdict:
    """Section 2: seven convolutions, two dense layers; and the printed number of parameters."""
    if measured.scale is not PAPER:
        raise NotRun("the network at its own size")
    kernels = {name: shape for name, shape in _parameters(PAPER).items() if name.endswith("kernel")}
    counts = [math.prod(shape) for shape in kernels.values() if len(shape) == 4]
    dense = len(kernels) - len(counts)
    right = (len(counts), dense, sum(counts)) == (7, 2, CONVOLUTION_PARAMETERS)
    return Verdict(right, f"{len(counts)} convolutions with {sum(counts):,} parameters, {dense} dense layers")


ENTRIES = {
    **{name: tabulated(name, title, [f"mehta2018_{name.replace('able', '')}"]) for name, title in TITLES.items()},
    "figure1": Entry("figure1", "BasicNet, layer by layer", _show_diagram),
    universal.ENTRY.name: universal.ENTRY,
}


def _every(*ids: str) -> Rule:
    """The claims of the larger paper that say the same; all of them have to be shown."""

    def rule(measured: Measured) -> Verdict:
        found = {one: judge(larger.RULES[one][1], measured)[0] for one in ids}
        text = ", ".join(f"{one} {status}" for one, status in found.items())
        if NOT_RUN in found.values():
            raise NotRun(text)
        premise(NOT_SHOWN in found.values() or UNDECIDABLE not in found.values(), text)
        return Verdict(all(status == SHOWN for status in found.values()), text)

    return rule


SAME = {
    "M18-01": ("M19-03",),
    "M18-02": ("M19-01", "M19-06"),
    "M18-03": ("M19-21", "M19-24", "M19-26"),
    "M18-04": ("M19-17",),
    "M18-05": ("M19-15", "M19-18"),
    "M18-06": ("M19-19",),
    "M18-07": ("M19-27", "M19-28", "M19-29"),
    "M18-08": ("M19-09", "M19-10"),
}
"""Which claims of the larger paper a claim is made of."""

RULES: dict[str, tuple[str, Rule]] = {
    **{one: (larger.RULES[parts[0]][0], _every(*parts)) for one, parts in SAME.items()},
    "M18-09": (universal.ENTRY.name, universal.rule),
    "M18-10": ("figure1", _is_the_diagram),
}
