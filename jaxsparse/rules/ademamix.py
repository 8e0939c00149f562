"""AdEMAMix: Adam with a second, slow average of gradients beside the first. One form, optax's, without warm-up."""

from __future__ import annotations

from optax.contrib import scale_by_ademamix

from jaxsparse.regularizers import FRACTION, NON_NEGATIVE
from jaxsparse.rules.rule import Look, Rule, in_one_form, scaled

RULE = Rule(
    "ademamix",
    in_one_form(scaled(scale_by_ademamix), {"b1": 0.9, "b2": 0.999, "b3": 0.9999, "alpha": 5.0, "eps": 1e-8}),
    ranges={"b1": FRACTION, "b2": FRACTION, "b3": FRACTION, "alpha": NON_NEGATIVE, "eps": NON_NEGATIVE},
    label="AdEMAMix",
    look=Look("#CC79A7", (0, (1, 1.2))),
)
"""Pagliardini et al. 2024, algorithm 1: `(m1 / c1 + alpha m2) / (sqrt(v / c2) + eps)`, b3 that of m2."""
