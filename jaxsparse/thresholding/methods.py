"""Which bounds a training has, and where they come from: fixed by a rule, or trained by a loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx

from jaxsparse.checks import name_of, require, require_choice
from jaxsparse.config import Run, Target
from jaxsparse.thresholding.bounds import BOUND_RANGE, binary_search, gaussian
from jaxsparse.thresholding.loss import SHARES, density, excess, shares, squared, unconstrained
from jaxsparse.thresholding.shrinkage import apply
from jaxsparse.trees import Mask, Tree, convolutions, flatten, kernels

Bounds: TypeAlias = Mapping[str, jax.Array]
"""By name of the kernel: scalars >= 0, relative to its standard deviation."""

Targets: TypeAlias = Sequence[Target]
"""One for each density of trained bounds, or one of fixed bounds."""

HEAD_START = 0.6
"""Trained bounds start where the Gaussian rule gives this share of the target. Not in the paper: it is what the
authors' released code does."""
BOUND_RATES = MappingProxyType({"sgd": 0.01})
"""Learning rate of trained bounds as a multiple of the others', by optimizer; 1 for those that are not here. That of
SGD is the authors' released code's (0.001 beside 0.1); the steps of adaptive optimizers do not grow with gradients."""


@dataclass(frozen=True)
class Fixed:
    """Bounds follow the weights in every step, for the same sparsity in each layer."""

    rule: Callable[[jax.Array, jax.Array | float], jax.Array]
    """from a kernel and the wanted sparsity to its bound"""


@dataclass(frozen=True)
class Trained:
    """Bounds are trained beside the weights, by a loss that wants them large."""

    objective: Callable[[jax.Array, jax.Array | float], jax.Array]
    """from density and budget to the loss"""
    has_budget: bool = True


METHODS: Mapping[str, Fixed | Trained | None] = MappingProxyType(
    {
        "none": None,
        "binary-search": Fixed(binary_search),
        "gaussian": Fixed(gaussian),
        "unconstrained": Trained(unconstrained, has_budget=False),
        "budget": Trained(squared),
        "hinge": Trained(excess),
    }
)
"""Table 1 of Retsinas et al. 2020 (`hinge`: equation 11)."""

THRESHOLDED: Mapping[str, Mask] = MappingProxyType({"convolutions": convolutions, "kernels": kernels})
"""Which parameters have a bound. All convolutions, shortcuts included and the last layer not, are what the parameter
counts of the paper's table 2 imply for WRN; AlexNet's dense layers must be in too (table 3). Biases and normalisations
are left alone (section 3.1)."""


@dataclass(frozen=True)
class Thresholding:
    """The bounds of a training: where they start, what follows from them, what they cost. Without a method, none."""

    method: Fixed | Trained | None = None
    names: tuple[str, ...] = ()
    """of the kernels that have a bound"""
    shares: tuple[tuple[float, ...], ...] = ()
    """c_i of these kernels, which sum to one, for each density that the loss is about"""
    straight_through: bool = True

    @property
    def trained(self) -> bool:
        return isinstance(self.method, Trained)

    def start(self, params: Tree, targets: Targets) -> Bounds:
        """Bounds before the first step; of several targets, from the least, which none of them has passed there."""
        if self.method is None:
            return {}
        sparsity = jnp.stack([jnp.asarray(target.sparsity, jnp.float32) for target in targets]).min()
        share = sparsity * HEAD_START if self.trained else sparsity
        rule = self.method.rule if isinstance(self.method, Fixed) else gaussian
        leaves = flatten(params)
        return {name: rule(leaves[name], share) for name in self.names}

    def followed(self, params: Tree, bounds: Tree, targets: Targets) -> Bounds:
        """Bounds after a step that led to these parameters, and moved the bounds there if they are trained."""
        if isinstance(self.method, Fixed):
            return self.start(params, targets)
        return {name: jnp.clip(bound, *BOUND_RANGE) for name, bound in bounds.items()}

    def weights(self, params: Tree, bounds: Bounds) -> Tree:
        """The parameters that a forward pass sees; see `apply`."""
        return apply(params, bounds, straight_through=self.straight_through)

    def loss(self, bounds: Bounds, targets: Targets) -> jax.Array | float:
        """What is added to the loss (equations 7, 10 and 11): of each density its own strength lambda and budget; 0
        unless the bounds are trained."""
        if not isinstance(self.method, Trained):
            return 0.0
        terms = [
            target.strength
            * self.method.objective(density(bounds, dict(zip(self.names, own, strict=True))), 1 - target.sparsity)
            for own, target in zip(self.shares, targets, strict=True)
        ]
        return jnp.sum(jnp.stack(terms))


NONE = Thresholding()
"""No bounds: every weight is what it is."""


def thresholding(run: Run, model: nnx.Module, example: Any) -> Thresholding:
    """The thresholding of a run.

    Args:
      run: with the names of its method, kernels and densities.
      model: its network, with arrays or their shapes.
      example: an input with batch axis, or its shape.

    Raises:
      InvalidInput: for an unknown name, or a method without kernels to act on.
    """
    require_choice("thresholding", run.thresholding, tuple(METHODS))
    require_choice("thresholded", run.thresholded, tuple(THRESHOLDED))
    for name in run.density:
        require_choice("density", name, SHARES)
    method = METHODS[run.thresholding]
    if method is None:
        return NONE
    params = nnx.as_pure(nnx.state(model, nnx.Param))
    chosen = jax.tree.leaves(THRESHOLDED[run.thresholded](params))
    names = tuple(name for name, flag in zip(flatten(params), chosen, strict=True) if flag)
    require(bool(names), "thresholded", run.thresholded, f"what {name_of(run.model)} has: {' '.join(THRESHOLDED)}")
    trained = isinstance(method, Trained)
    fits = run.straight_through or not trained
    require(fits, "straight-through", run.straight_through, f"on for {run.thresholding}, whose bounds are trained")
    found = [shares(name, model, example, names) for name in run.density if trained]
    return Thresholding(method, names, tuple(tuple(own.values()) for own in found), run.straight_through)
