"""Schedule-Free SGD: plain steps, and an average of the weights in place of momentum and of a schedule."""

from __future__ import annotations

from typing import Any

import optax

from jaxsparse.regularizers import FRACTION
from jaxsparse.rules.averaging import averaged
from jaxsparse.rules.rule import INK, Chain, Look, Rule, in_one_form


def _chain(learning_rate: Any, b1: Any) -> Chain:
    del b1
    return (optax.scale_by_learning_rate(learning_rate),)


RULE = Rule(
    "schedule_free_sgd",
    in_one_form(_chain, {"b1": 0.9}, wrap=averaged),
    ranges={"b1": FRACTION},
    learning_rate=1.0,
    label="Schedule-Free SGD",
    look=Look(INK, (0, (3, 1.5))),
    adaptive=False,
)
"""Defazio et al. 2024, equations 3 to 5, without warm-up."""
