"""Prodigy: Adam that finds its own learning rate, of which the given one is a multiple. One form, optax's."""

from __future__ import annotations

from typing import Any

from optax.contrib import prodigy

from jaxsparse.regularizers import FRACTION, NON_NEGATIVE, POSITIVE
from jaxsparse.rules.rule import Chain, Look, Rule, in_one_form


def _chain(learning_rate: Any, b1: Any, b2: Any, eps: Any, estim_lr0: Any) -> Chain:
    return (prodigy(learning_rate, betas=(b1, b2), eps=eps, estim_lr0=estim_lr0),)


RULE = Rule(
    "prodigy",
    in_one_form(_chain, {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "estim_lr0": 1e-6}),
    ranges={"b1": FRACTION, "b2": FRACTION, "eps": NON_NEGATIVE, "estim_lr0": POSITIVE},
    learning_rate=1.0,
    label="Prodigy",
    look=Look("#E69F00", (0, (1, 1.2))),
    elementwise=False,
)
"""Mishchenko and Defazio 2024, algorithm 4. All weights share the estimate; decoupled decay (`wd-lr`) is multiplied by
the given rate alone, where optax's own `weight_decay` is by the estimate too. Not a number until
a gradient was seen."""
