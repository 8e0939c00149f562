"""Adafactor: second moments of rows and columns, steps in units of the weights. One form, optax's."""

from __future__ import annotations

from typing import Any

import optax

from jaxsparse.regularizers import FRACTION, NON_NEGATIVE
from jaxsparse.rules.rule import Chain, Look, Rule, in_one_form


def _chain(learning_rate: Any, decay_rate: Any, eps: Any) -> Chain:
    return (optax.adafactor(learning_rate, decay_rate=decay_rate, eps=eps),)


RULE = Rule(
    "adafactor",
    in_one_form(_chain, {"decay_rate": 0.8, "eps": 1e-30}),
    ranges={"decay_rate": FRACTION, "eps": NON_NEGATIVE},
    learning_rate=1e-2,
    label="Adafactor",
    look=Look("#56B4E9", "-"),
    elementwise=False,
)
"""Shazeer and Stern 2018, algorithm 4, with its relative step of at most 1e-2: a step is the learning rate times the
root mean square of an array's weights (1e-3 at least), and at most as large. So weights of one array are not on their
own, and one that is alone cannot pass zero quickly."""
