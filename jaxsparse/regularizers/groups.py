"""Group lasso on the incoming weights of a unit: by its gradient, and by its proximal operator."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import optax

from jaxsparse.regularizers.base import (
    DecoupledPenalty,
    LearningRate,
    Penalty,
    add_to,
    after_step,
    masked,
)
from jaxsparse.trees import Kind, Mask, Tree, of_kind


@partial(jax.tree_util.register_dataclass, data_fields=["strength"], meta_fields=["weighted"])
@dataclass(frozen=True)
class GroupLasso(Penalty):
    """Penalty `strength * sum_g sqrt(|g|) ||w_g||_2` on kernels, with |g| the number of weights in a group: adds
    `strength * sqrt(|g|) * w_g / ||w_g||_2` to their gradients.

    A group is the incoming weights of one output unit: all axes of a kernel `[..., inputs, outputs]` but the last.
    The subgradient of a group that is zero is 0. Yuan and Lin 2006, equation 2.1 with their kernel matrices p_j I;
    Scardapane et al. 2017, equation 4, whose groups are what goes out of a unit. The factor makes one strength mean the
    same in layers of any size: a weight of a group whose entries are alike is pulled by the strength. Without it
    (`weighted=False`), Wen et al. 2016, section 3.

    Attributes:
      strength: lambda, finite and >= 0; a scalar.
      weighted: whether each group has the square root of its size.

    Raises:
      ValueError: if a concrete strength is out of range; at `init`, if no parameter (that `mask` chooses) is a kernel.

    Example:
      The penalty pulls a filter along its direction, with the same force however small it is.

      >>> import jax.numpy as jnp
      >>> import numpy as np
      >>> import jaxsparse as js
      >>> params = {"kernel": jnp.array([[3.0, 0.3], [4.0, 0.4]])}  # two units, in columns
      >>> transformation = js.GroupLasso(0.1, weighted=False).transformation()
      >>> gradients = {"kernel": jnp.zeros((2, 2))}
      >>> changed, state = transformation.update(gradients, transformation.init(params), params)
      >>> print(np.asarray(changed["kernel"], float).round(3))
      [[0.06 0.06]
       [0.08 0.08]]
    """

    weighted: bool = True

    @property
    def name(self) -> str:
        return _named("group-lasso", self.weighted)

    def transformation(self, mask: Mask | None = None) -> optax.GradientTransformation:
        """What comes before the preconditioner; `mask` chooses among the kernels (default: all)."""

        def pull(kernel: jax.Array) -> jax.Array:
            return self.strength * _weight(kernel, self.weighted) * _unit_groups(kernel)

        return add_to(Kind.KERNEL, pull, mask)


@partial(jax.tree_util.register_dataclass, data_fields=["strength"], meta_fields=["weighted"])
@dataclass(frozen=True)
class ProximalGroupLasso(DecoupledPenalty):
    """The penalty of `GroupLasso` by its proximal operator: groups become exactly zero.

    After the step of the loss alone has made v_g of the group w_g, with the learning rate lr_t of the step,

        w_g <- v_g * max(0, 1 - lr_t * strength * sqrt(|g|) / ||v_g||_2)

    is the minimum of `lr_t * strength * sqrt(|g|) * ||w_g||_2 + ||w_g - v_g||_2^2 / 2` (Parikh and Boyd 2014, section
    6.5.4; with plain SGD, proximal gradient descent). Groups and factor are those of `GroupLasso`.

    Attributes:
      strength: lambda, finite and >= 0; a scalar.
      weighted: whether each group has the square root of its size.

    Raises:
      ValueError: if a concrete strength is out of range; at `init`, if no parameter (that `mask` chooses) is a kernel.

    Example:
      The second unit's norm is less than the step takes off, so it is exactly zero.

      >>> import jax.numpy as jnp
      >>> import numpy as np
      >>> import jaxsparse as js
      >>> tx = js.sgd(1.0, regularizer=js.ProximalGroupLasso(0.6, weighted=False))
      >>> params = {"kernel": jnp.array([[3.0, 0.3], [4.0, 0.4]])}
      >>> updates, state = tx.update({"kernel": jnp.zeros((2, 2))}, tx.init(params), params)
      >>> print(np.asarray(params["kernel"] + updates["kernel"], float).round(2))
      [[2.64 0.  ]
       [3.52 0.  ]]
    """

    weighted: bool = True

    @property
    def name(self) -> str:
        return _named("proximal-group-lasso", self.weighted)

    def transformation(self, learning_rate: LearningRate, mask: Mask | None = None) -> optax.GradientTransformation:
        """What comes last, after the scaling by the learning rate; `mask` chooses among the kernels (default: all)."""

        def shrunk(updates: Tree, params: Tree, count: jax.Array) -> Tree:
            bound = jnp.asarray(self.rate(learning_rate, count))

            def toward_zero(on: bool, update: jax.Array, weight: jax.Array) -> jax.Array:
                own = bound * _weight(weight, self.weighted)
                return _soft_thresholded(weight + update, own) - weight if on else update

            return jax.tree.map(toward_zero, of_kind(Kind.KERNEL)(updates), updates, params)

        return masked(after_step(shrunk, Kind.KERNEL), mask)


def _named(name: str, weighted: bool) -> str:
    return name if weighted else f"{name}-unweighted"


def _weight(kernel: jax.Array, weighted: bool) -> float:
    """Of each group of a kernel `[..., outputs]` in a group lasso: the square root of its size, or 1."""
    return math.sqrt(math.prod(kernel.shape[:-1])) if weighted else 1.0


def _unit_groups(kernel: jax.Array) -> jax.Array:
    """Each group of a kernel `[..., outputs]` scaled to norm 1, or 0 where it is zero."""
    largest, norm = _norms(kernel)
    return kernel / jnp.where(largest > 0, largest, 1) / jnp.where(norm > 0, norm, 1)


def _soft_thresholded(kernel: jax.Array, bound: jax.Array) -> jax.Array:
    """Each group of a kernel `[..., outputs]` with a norm smaller by the bound, or 0."""
    largest, norm = _norms(kernel)
    norm *= largest
    bound = bound.astype(kernel.dtype).reshape((1,) * kernel.ndim)
    return jnp.where(norm > bound, kernel * (1 - bound / jnp.where(norm > 0, norm, 1)), 0)


def _norms(kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of each group the largest magnitude, and the norm as a multiple of it (0 where it is zero): `[1, ..., outputs]`.

    Dividing by the largest entry first keeps the squares of tiny weights from underflowing.
    """
    axes = tuple(range(kernel.ndim - 1))
    largest = jnp.max(jnp.abs(kernel), axis=axes, keepdims=True)
    scaled = kernel / jnp.where(largest > 0, largest, 1)
    return largest, jnp.sqrt(jnp.sum(scaled**2, axis=axes, keepdims=True))
