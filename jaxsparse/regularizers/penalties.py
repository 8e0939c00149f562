"""Penalties that are added to the gradient of the loss: L2, and L1 on the scales of normalisations."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from jaxsparse.regularizers.base import Penalty, add_to, masked
from jaxsparse.trees import Kind, Mask


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CoupledL2(Penalty):
    """L2 penalty `strength / 2 * ||theta||^2`: adds `strength * theta` to the gradient.

    This is `weight_decay` of `torch.optim.Adam`, `SGD` and the others (not of `AdamW`); Mehta et al. 2019, section 2.1.

    Attributes:
      strength: lambda, finite and >= 0; a scalar.

    Raises:
      ValueError: if a concrete strength is out of range.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> w, gradient = jnp.array([2.0]), jnp.array([1.0])
      >>> transformation = js.CoupledL2(0.1).transformation()
      >>> changed, state = transformation.update(gradient, transformation.init(w), w)
      >>> print(f"{changed[0]:.1f}")
      1.2
    """

    @property
    def name(self) -> str:
        return "l2"

    def transformation(self, mask: Mask | None = None) -> optax.GradientTransformation:
        """What comes before the preconditioner; `mask` chooses the parameters (default: all)."""
        return masked(optax.add_decayed_weights(self.strength), mask)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class BatchNormL1(Penalty):
    """L1 penalty on normalisation scales, `strength * ||gamma||_1`: adds `strength * sign(gamma)` to their gradients.

    Network slimming: Liu et al. 2017, section 3, equation 1, with the subgradient 0 at 0. Other kinds of parameters are
    left alone.

    Attributes:
      strength: lambda, finite and >= 0; a scalar.

    Raises:
      ValueError: if a concrete strength is out of range; at `init`, if no parameter (that `mask` chooses) is a scale.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> params = {"norm": {"scale": jnp.array([0.5, -0.5, 0.0]), "bias": jnp.ones(3)}}
      >>> gradients = {"norm": {"scale": jnp.zeros(3), "bias": jnp.zeros(3)}}
      >>> transformation = js.BatchNormL1(0.01).transformation()
      >>> changed, state = transformation.update(gradients, transformation.init(params), params)
      >>> [round(float(g), 3) for g in changed["norm"]["scale"]], float(changed["norm"]["bias"].max())
      ([0.01, -0.01, 0.0], 0.0)
    """

    @property
    def name(self) -> str:
        return "bn-l1"

    def transformation(self, mask: Mask | None = None) -> optax.GradientTransformation:
        """What comes before the preconditioner; `mask` chooses among the scales (default: all)."""
        return add_to(Kind.SCALE, lambda scale: self.strength * jnp.sign(scale), mask)
