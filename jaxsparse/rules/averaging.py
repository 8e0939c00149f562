"""Schedule-Free: gradients are taken at y, networks are evaluated at x, the average of what the rule makes of them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax.contrib import ScheduleFreeState, schedule_free

from jaxsparse.regularizers import LearningRate, Scalar
from jaxsparse.trees import Tree, flatten


def averaged(
    inner: optax.GradientTransformation, learning_rate: LearningRate, *, b1: Scalar, **hyper: Any
) -> optax.GradientTransformation:
    """Around a rule with its regularizer, whose steps go to z:

        z <- z + step(gradient at y)
        x <- (1 - c) x + c z,  c = r^2 / sum r^2,  r the largest learning rate so far
        y <- (1 - b1) z + b1 x

    Defazio et al. 2024, equations 3 to 5. The weights that a training holds are y; see `evaluated`.
    """
    del hyper
    return schedule_free(inner, learning_rate, b1)


def evaluated(state: Tree, params: Tree) -> Tree:
    """The weights that a network is evaluated with: x where the optimizer's state is Schedule-Free's, however deep,
    `(y - (1 - b1) z) / b1`, and else the weights themselves. Both may have axes of cells in front.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> tx = js.optimizer("schedule_free_sgd", 0.5)
      >>> y = jnp.array([1.0])
      >>> state = tx.init(y)
      >>> for gradient in (1.0, 1.0, 1.0):
      ...     updates, state = tx.update(jnp.array([gradient]), state, y)
      ...     y = y + updates
      >>> print(f"trained {y[0]:.3f}, evaluated {js.rules.evaluated(state, y)[0]:.3f}")
      trained -0.050, evaluated 0.000
    """

    def found(node: Any) -> bool:
        return isinstance(node, ScheduleFreeState)

    states = [one for one in jax.tree.leaves(state, is_leaf=found) if found(one)]
    if not states:
        return params
    leaves = flatten(params)
    for one in states:
        for name, z in flatten(one.z).items():
            b1 = jnp.reshape(one.b1, jnp.shape(one.b1) + (1,) * (jnp.ndim(z) - jnp.ndim(one.b1)))
            leaves[name] = (leaves[name] - (1 - b1) * z) / b1
    return jax.tree.unflatten(jax.tree.structure(params), list(leaves.values()))
