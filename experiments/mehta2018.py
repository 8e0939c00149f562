"""Mehta, Kim, Theobalt 2018: Implicit Filter Sparsification in Convolutional Neural Networks (ICML workshop).

A summary of what became Mehta et al. 2019; its tables are rows of that paper's, and so are its claims.
"""

from __future__ import annotations

from experiments import mehta2019_claims as larger
from experiments.claims import Rule, Verdict
from experiments.measured import Measured
from experiments.tables import tabulated

TITLES = {
    "table1": "Optimizers and regularizers on CIFAR",
    "table2": "Mini-batch sizes, CIFAR",
    "table3": "Mini-batch sizes, TinyImageNet",
    "table4": "VGG-16 on CIFAR",
    "table5": "VGG-16 on TinyImageNet and ImageNet",
    "table6": "VGG-11 on ImageNet",
    "table7": "VGG-19 on CIFAR",
}

ENTRIES = {name: tabulated(name, title, [f"mehta2018_{name.replace('able', '')}"]) for name, title in TITLES.items()}


def _every(*ids: str) -> Rule:
    """The claims of the larger paper that say the same; all of them have to be shown."""

    def rule(measured: Measured) -> Verdict:
        found = [(one, larger.RULES[one][1](measured)) for one in ids]
        return Verdict(
            all(verdict.shown for _, verdict in found),
            ", ".join(f"{one} {'shown' if verdict.shown else 'not shown'}" for one, verdict in found),
        )

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

RULES: dict[str, tuple[str, Rule]] = {one: (larger.RULES[parts[0]][0], _every(*parts)) for one, parts in SAME.items()}
