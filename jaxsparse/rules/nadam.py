"""NAdam, Adam with Nesterov's momentum: torch, Keras and the paper warm the momentum up, optax does not."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxsparse.regularizers import FRACTION, NON_NEGATIVE, Scalar
from jaxsparse.rules.adam import moments
from jaxsparse.rules.rule import Form, Look, Rule, scaled
from jaxsparse.rules.scaling import correction, quotient, zeros
from jaxsparse.trees import Tree


class _State(NamedTuple):
    count: jax.Array
    product: jax.Array
    """of the momenta so far"""
    mu: Tree
    nu: Tree


def _scale_by_nadam(b1: Scalar, b2: Scalar, eps: Scalar, momentum_decay: Scalar) -> optax.GradientTransformation:
    """With `u_t = b1 (1 - 0.96^(t d) / 2)` and its product `U_t` over the steps, m and v as in `adam`:

        (u_{t+1} m / (1 - U_{t+1}) + (1 - u_t) g / (1 - U_t)) / (sqrt(v / c2) + eps)

    Dozat 2016, algorithm 2, with d = 0.004; Keras has d = 1.
    """

    def init_fn(params: Tree) -> optax.OptState:
        real = optax.tree.dtype(params, "lowest")
        return _State(jnp.zeros([], jnp.int32), jnp.ones([], real), *zeros(params, 2))

    def update_fn(updates: Tree, state: Any, params: Tree = None) -> tuple[Tree, optax.OptState]:
        del params
        count = jnp.asarray(optax.safe_increment(state.count))
        now, then = (b1 * (1 - 0.96 ** (t * momentum_decay) / 2) for t in (count, count + 1))
        product = state.product * now
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment(updates, state.nu, b2, 2)
        of_m, of_g, c2 = then / (1 - product * then), (1 - now) / (1 - product), correction(count, b2)
        updates = jax.tree.map(lambda g, m, v: quotient(of_m * m + of_g * g, jnp.sqrt(v / c2) + eps), updates, mu, nu)
        return updates, _State(count, product, mu, nu)

    return optax.GradientTransformation(init_fn, update_fn)


def _nesterov(b1: Scalar, b2: Scalar, eps: Scalar) -> optax.GradientTransformation:
    return optax.scale_by_adam(b1, b2, eps, nesterov=True)


RULE = Rule(
    "nadam",
    {
        "torch": Form(scaled(_scale_by_nadam), {**moments(1e-8), "momentum_decay": 4e-3}, 2e-3),
        "keras": Form(scaled(_scale_by_nadam), {**moments(1e-7), "momentum_decay": 1.0}, 1e-3),
        "optax": Form(scaled(_nesterov), moments(1e-8)),
        "paper": Form(scaled(_scale_by_nadam), {**moments(1e-8), "momentum_decay": 4e-3}),
    },
    ranges={"b1": FRACTION, "b2": FRACTION, "eps": NON_NEGATIVE, "momentum_decay": NON_NEGATIVE},
    label="NAdam",
    look=Look("#CC79A7", (0, (5, 1.5))),
)
