"""Tiger, Lion with one average, as a file of `jaxsparse/rules`: all that it takes to build a rule in."""

from typing import Any

import optax

from jaxsparse.regularizers import FRACTION
from jaxsparse.rules.rule import Form, Look, Rule, scaled


def _scale_by_tiger(b1: Any) -> optax.GradientTransformation:
    return optax.scale_by_lion(b1, b1)


RULE = Rule(
    "tiger",
    dict.fromkeys(("keras", "optax", "paper"), Form(scaled(_scale_by_tiger), {"b1": 0.965})),  # no torch
    ranges={"b1": FRACTION},
    learning_rate=1e-4,
    label="Tiger",
    look=Look("#000000", "--"),
)
