"""An optimizer that keeps pruned parameters at zero."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxsparse.checks import require
from jaxsparse.pruning.masks import apply, require_masks
from jaxsparse.trees import Tree


class EnforcedState(NamedTuple):
    """State of `enforce`. Other masks may be put in at any time: `state._replace(masks=masks)`."""

    masks: Tree
    count: jax.Array
    """finished steps"""
    inner: optax.OptState


def enforce(
    inner: optax.GradientTransformation, masks: Tree, *, every: int = 1
) -> optax.GradientTransformationExtraArgs:
    """Wraps any optax optimizer so that pruned parameters are exactly zero after every step.

    The inner optimizer sees pruned parameters and their gradients as zero; its update of them is replaced by the one
    that leads to zero, from wherever they are; and what it remembers of them is zero, so that no momentum is left when
    masks change. All else is updated as without masks, except where the inner optimizer mixes parameters (a global
    norm, the groups of `js.GroupLasso`): there the pruned ones count as zero.

        tx = js.pruning.enforce(js.adam(1e-3), js.pruning.magnitude(params, 0.9))

    Args:
      inner: any optax optimizer. Of its state, the trees with the parameters' structure are masked, leaf by leaf where
        the shapes agree; factored moments stay as they are.
      masks: booleans like the parameters, True = kept. They are part of the state, so that other masks need no
        compilation.
      every: with n > 1, masks hold after every n-th step only, and pruned parameters move in between (Batra et al. 2024
        apply them at the end of each epoch).

    Raises:
      InvalidInput: for every < 1; at `init`, for masks that are not those of the parameters.
      ValueError: at `update`, where the parameters are not given.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import jaxsparse as js
      >>> params, gradients = {"w": jnp.array([1.0, 1.0])}, {"w": jnp.array([0.5, 0.5])}
      >>> tx = js.pruning.enforce(js.sgd(0.1), {"w": jnp.array([True, False])})
      >>> updates, state = tx.update(gradients, tx.init(params), params)
      >>> print(optax.apply_updates(params, updates)["w"])
      [0.95 0.  ]
    """
    require(every >= 1, "every", every, "a whole number >= 1")
    inner = optax.with_extra_args_support(inner)

    def init_fn(params: Tree) -> EnforcedState:
        require_masks(params, masks)
        own = jax.tree.map(jnp.array, masks)  # a copy, which a training loop may donate
        return EnforcedState(own, jnp.zeros((), jnp.int32), _masked_state(inner.init(apply(params, own)), own))

    def update_fn(updates: Tree, state: Any, params: Tree = None, **extra: Any) -> tuple[Tree, EnforcedState]:
        if params is None:
            raise ValueError("params must be passed to update: masks act on the weights")
        count, kept = jnp.asarray(optax.safe_increment(state.count)), state.masks
        if every > 1:
            kept = jax.tree.map(lambda mask: mask | (count % every != 0), kept)
        updates, new = inner.update(apply(updates, kept), state.inner, apply(params, kept), **extra)
        updates = jax.tree.map(lambda u, w, mask: jnp.where(mask, u, -w), updates, params, kept)
        return updates, EnforcedState(state.masks, count, _masked_state(new, kept))

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _absent(node: Any) -> bool:
    """Where `optax.masked` and `optax.partition` leave a parameter out."""
    return isinstance(node, optax.MaskedNode)


def _masked_state(state: optax.OptState, masks: Tree) -> optax.OptState:
    """An optimizer's state with zeros for what is pruned."""
    structure = jax.tree.structure(masks)

    def mirrors(node: Any) -> bool:
        return jax.tree.structure(node, is_leaf=_absent) == structure

    def masked(leaf: Any, mask: jax.Array) -> Any:
        if _absent(leaf) or jnp.shape(leaf) != mask.shape:
            return leaf
        return jnp.where(mask, leaf, jnp.zeros_like(leaf))

    def of(node: Any) -> Any:
        return jax.tree.map(masked, node, masks, is_leaf=_absent) if mirrors(node) else node

    return jax.tree.map(of, state, is_leaf=mirrors)
