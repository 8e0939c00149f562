"""Lion as a file of `jaxsparse/rules`: all that it takes to build a rule in."""

import optax

from jaxsparse.regularizers import FRACTION
from jaxsparse.rules.rule import Form, Look, Rule, scaled

RULE = Rule(
    "lion",
    dict.fromkeys(("keras", "optax", "paper"), Form(scaled(optax.scale_by_lion), {"b1": 0.9, "b2": 0.99})),  # no torch
    ranges={"b1": FRACTION, "b2": FRACTION},
    learning_rate=1e-4,
    label="Lion",
    look=Look("#000000", "--"),
)
