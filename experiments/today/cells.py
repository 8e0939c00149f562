"""What is trained to ask today's optimizers whether they kill units.

Two networks, the same for every rule. `mlp` is that of `jaxsparse grid`: 300 units on 8x8 digits, 1,000 epochs at a
batch of 64. `cnn` is four convolutions of 8, 16, 16 and 32 filters and a dense layer on 10,000 images of 12x12 pixels,
digits among one fragment of another, for 40 epochs at a batch of 40. Both divide the learning rate by ten after 250/325
of the training, as Mehta et al. 2019 do, the Schedule-Free rules too: the comparison is of rules under one protocol.

Learning rates are those that the rules come with (`RATES`), tuned for nothing here. Decoupled decay is `wd` of Mehta et
al., the share of a weight that a step takes, so that one strength means the same for every rule: 1e-4 is a
`weight_decay` of 0.1 for AdamW at 1e-3, and of 1 for Lion at 1e-4, which its authors recommend.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from experiments.scales import LEARNING_RATES
from jaxsparse import rules
from jaxsparse.config import Hyper, Run
from jaxsparse.grid import Cell

RATES: Mapping[str, float] = {
    **LEARNING_RATES,
    "adamw": 1e-3,
    "nadam": 1e-3,
    "radam": 1e-3,
    "adan": 1e-3,
    "ademamix": 1e-3,
    "adafactor": 1e-2,
    "lion": 1e-4,
    "muon": 1e-3,
    "prodigy": 1.0,
    "schedule_free_adamw": 2.5e-3,
    "schedule_free_sgd": 1.0,
}
"""The papers' seven as in Mehta et al. 2019; of the others what `jaxsparse.rules` says, and why, in each one's file."""
OLDER = ("amsgrad", "adamax", "rmsprop", "adagrad", "adadelta")
"""Which are left out on the CNN: experiments on convolutions have them elsewhere (Mehta et al. 2019, table 1)."""
SEEDS = (0, 1, 2)
FORMS = {
    "mlp": (("none", 0.0), ("l2", 1e-4), ("l2", 1e-3), ("wd", 1e-4), ("wd", 1e-3)),
    "cnn": (("none", 0.0), ("l2", 1e-3), ("wd", 1e-3)),
}
"""Regularizers and their strengths, by network. Convolutions have the stronger ones alone, for the time they take."""
NETWORKS: Mapping[str, Run] = {
    "mlp": Run(data="digits", model="mlp", epochs=1000, batch=64, measure_every=40, milestones=(769,), factor=0.1),
    "cnn": Run(
        data="cluttered-digits-12-1-10000",
        model="basicnet",
        widths=(8, 16, 16, 32),
        epochs=40,
        batch=40,
        measure_every=10,
        milestones=(31,),
        factor=0.1,
    ),
}
CHOICES: Mapping[str, str] = {
    "all": "every parameter",
    "kernels": "kernels alone",
    "kernels+scales": "kernels and scales",
    "scales": "scales alone",
}
"""What a decay acts on (`Run.regularize`)."""
CHOOSING = ("sgd", "adam", "lion", "muon")
"""Rules of which it is asked, on the MLP."""
CHOSEN = 1e-3
"""Its strength."""

METHODS = (
    *(("adam", "l2", strength, "all") for strength in (1e-4, 1e-3)),
    *((rule, "bn-l1", strength, "all") for rule in ("sgd", "adam") for strength in (1e-4, 1e-3)),
    *((rule, "spred", strength, "scales") for rule in ("sgd", "adam") for strength in (1e-4, 1e-3)),
)
"""Ways to make units die, on the MLP: rule, regularizer, strength, and what it acts on. L2 in Adam, network slimming,
and factorized scales. (Removal on the way, `shrink_every`, was tried with the first: it never paid in so small a
network, so that nothing was removed.)"""


def cells(network: str, rule: str, form: str, strength: float, regularize: str = "all") -> list[Cell]:
    """The trainings of a setting, one a seed."""
    constants = rules.RULES[rule].constants()
    acts = {"regularizer": "l2"} if form == "none" else {"regularizer": form, "regularize": regularize}
    run = replace(NETWORKS[network], optimizer=rule, **acts)
    return [Cell(run, Hyper(RATES[rule], strength, constants), seed, form) for seed in SEEDS]


def trained(network: str) -> list[str]:
    """The rules that a network is trained with."""
    return [rule for rule in RATES if network == "mlp" or rule not in OLDER]


def compared() -> list[Cell]:
    """Every rule under every regularizer, on both networks."""
    return [
        one
        for network, forms in FORMS.items()
        for rule in trained(network)
        for form in forms
        for one in cells(network, rule, *form)
    ]


def chosen() -> list[Cell]:
    """Some rules with a decay of some of the parameters."""
    return [
        one
        for rule in CHOOSING
        for form in ("l2", "wd")
        for choice in CHOICES
        for one in cells("mlp", rule, form, CHOSEN, choice)
    ]


def killing() -> list[Cell]:
    """Every method."""
    return [one for setting in METHODS for one in cells("mlp", *setting)]
