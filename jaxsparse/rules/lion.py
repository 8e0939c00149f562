"""Lion: a step of the learning rate along the sign of an average. One form, which Keras and optax have."""

from __future__ import annotations

import optax

from jaxsparse.regularizers import FRACTION
from jaxsparse.rules.rule import Look, Rule, in_one_form, scaled

RULE = Rule(
    "lion",
    in_one_form(scaled(optax.scale_by_lion), {"b1": 0.9, "b2": 0.99}),
    ranges={"b1": FRACTION, "b2": FRACTION},
    learning_rate=1e-4,
    label="Lion",
    look=Look("#0072B2", (0, (5, 1.5))),
)
"""Chen et al. 2023, algorithm 2: `sign(b1 m + (1 - b1) g)`, then `m <- b2 m + (1 - b2) g`. The learning rate is theirs,
a tenth of Adam's; their decay is as many times stronger (section 5)."""
