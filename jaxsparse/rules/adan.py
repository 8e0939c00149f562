"""Adan: Nesterov's momentum from the differences of gradients. optax adds an epsilon inside the root."""

from __future__ import annotations

import optax

from jaxsparse.regularizers import FRACTION, NON_NEGATIVE, Scalar
from jaxsparse.rules.rule import CONVENTIONS, Form, Look, Numbers, Rule, scaled

_MOMENTS: Numbers = {"b1": 0.98, "b2": 0.92, "b3": 0.99, "eps": 1e-8}


def _scale_by_adan(
    b1: Scalar, b2: Scalar, b3: Scalar, eps: Scalar, eps_root: Scalar = 0.0
) -> optax.GradientTransformation:
    return optax.scale_by_adan(b1, b2, b3, eps, eps_root)


RULE = Rule(
    "adan",
    {
        **dict.fromkeys(CONVENTIONS, Form(scaled(_scale_by_adan), _MOMENTS, 1e-3)),
        "optax": Form(scaled(_scale_by_adan), {**_MOMENTS, "eps_root": 1e-8}),
    },
    ranges={"b1": FRACTION, "b2": FRACTION, "b3": FRACTION, "eps": NON_NEGATIVE, "eps_root": NON_NEGATIVE},
    label="Adan",
    look=Look("#009E73"),
)
"""Xie et al. 2022, algorithm 1, with corrected moments as in the authors' code: the form of all but optax."""
