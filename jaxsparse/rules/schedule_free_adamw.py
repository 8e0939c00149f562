"""Schedule-Free AdamW: Adam's second moment, and an average of the weights in place of the first and of a schedule."""

from __future__ import annotations

from typing import Any

import optax

from jaxsparse.regularizers import FRACTION, NON_NEGATIVE
from jaxsparse.rules.averaging import averaged
from jaxsparse.rules.rule import Chain, Look, Rule, in_one_form


def _chain(learning_rate: Any, b1: Any, b2: Any, eps: Any) -> Chain:
    del b1
    root = optax.scale_by_rms(b2, eps, eps_in_sqrt=False, bias_correction=True)
    return root, optax.scale_by_learning_rate(learning_rate)


RULE = Rule(
    "schedule_free_adamw",
    in_one_form(_chain, {"b1": 0.9, "b2": 0.999, "eps": 1e-8}, wrap=averaged),
    ranges={"b1": FRACTION, "b2": FRACTION, "eps": NON_NEGATIVE},
    learning_rate=2.5e-3,
    label="Schedule-Free AdamW",
    look=Look("#D55E00", (0, (1, 1.2))),
)
"""Defazio et al. 2024, algorithm 1, without warm-up. Decay is that of the regularizer, taken at y as in theirs."""
