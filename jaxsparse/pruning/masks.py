"""Masks: pytrees of booleans with the parameters' structure and shapes, True where a parameter is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxsparse.checks import require
from jaxsparse.trees import Kind, Mask, Tree, convolutions, flatten, kernels, kinds

__all__ = [
    "apply",
    "below",
    "both",
    "convolutions",
    "kernels",
    "masks_of",
    "require_masks",
    "selected",
    "share_pruned",
]


def _like(params: Tree, leaves: list[bool]) -> Tree:
    return jax.tree.unflatten(jax.tree.structure(params), leaves)


def below(path: str) -> Callable[[Tree], Tree]:
    """Which parameters may be pruned: the kernels of the modules below a path (`"convolutions"`; all, where empty).

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> params = {name: {"kernel": jnp.arange(1.0, 5.0).reshape(2, 2)} for name in ("features", "head")}
      >>> masks = js.pruning.magnitude(params, 0.5, prunable=js.pruning.below("features"))
      >>> print(masks["features"]["kernel"].tolist(), masks["head"]["kernel"].tolist())
      [[False, False], [True, True]] [[True, True], [True, True]]
    """

    def chosen(params: Tree) -> Tree:
        pairs = zip(jax.tree.leaves(kinds(params)), flatten(params), strict=True)
        return _like(params, [kind == Kind.KERNEL and name.startswith(path and path + "/") for kind, name in pairs])

    return chosen


def selected(params: Tree, chosen: Mask) -> dict[str, jax.Array]:
    """The chosen parameters, by name."""
    flags = jax.tree.leaves(chosen(params) if callable(chosen) else chosen)
    return {name: leaf for (name, leaf), flag in zip(flatten(params).items(), flags, strict=True) if flag}


def masks_of(params: Tree, kept: Mapping[str, jax.Array]) -> Tree:
    """Masks from booleans by name of a parameter, in its shape or that of its last axes; all others are kept."""
    leaves = [
        jnp.broadcast_to(kept[name], leaf.shape) if name in kept else jnp.ones(leaf.shape, bool)
        for name, leaf in flatten(params).items()
    ]
    return jax.tree.unflatten(jax.tree.structure(params), leaves)


def require_masks(params: Tree, masks: Tree) -> None:
    """Raises `InvalidInput` unless the masks are booleans of the parameters' names and shapes."""
    wanted, found = flatten(params), flatten(masks)
    other = sorted(wanted.keys() ^ found.keys())
    require(not other, "masks", " ".join(other[:3]), "booleans for each parameter of the network, and for no other")
    for name, mask in found.items():
        shape, kind = np.shape(wanted[name]), np.dtype(getattr(mask, "dtype", type(mask)))
        fits = np.shape(mask) == shape and kind == np.bool_
        require(fits, f"masks[{name!r}]", f"{kind} {np.shape(mask)}", f"booleans of shape {shape}")


def apply(params: Tree, masks: Tree) -> Tree:
    """The parameters with zeros where they are pruned.

    Args:
      params: of the network.
      masks: booleans like the parameters, True = kept.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> params = {"dense": {"kernel": jnp.array([[0.1, -2.0, 0.3], [-0.4, 0.05, 1.0]])}}
      >>> print(js.pruning.apply(params, js.pruning.magnitude(params, 0.5))["dense"]["kernel"])
      [[ 0.  -2.   0. ]
       [-0.4  0.   1. ]]
    """
    return jax.tree.map(lambda w, mask: jnp.where(mask, w, 0), params, masks)


def both(masks: Tree, others: Tree) -> Tree:
    """What both keep."""
    return jax.tree.map(jnp.logical_and, masks, others)


def share_pruned(masks: Tree, chosen: Mask | None = None) -> float:
    """Share of the parameters (of those chosen, such as `convolutions`) that is pruned, in [0, 1]; nan of none.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> masks = {"conv": {"kernel": jnp.zeros((1, 1, 2, 5), bool)}, "head": {"kernel": jnp.ones((5, 6), bool)}}
      >>> js.pruning.share_pruned(masks), js.pruning.share_pruned(masks, js.pruning.convolutions)
      (0.25, 1.0)
    """
    found = flatten(masks) if chosen is None else selected(masks, chosen)
    total = sum(mask.size for mask in found.values())
    return sum(int(np.sum(~np.asarray(mask))) for mask in found.values()) / total if total else float("nan")
