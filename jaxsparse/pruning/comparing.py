"""What is low enough to go: scores are compared globally, layer by layer, or filter by filter.

A comparison takes scores by name and how much to prune, and says what is kept. Of n scores that are compared, a
fraction prunes exactly the `round(fraction * n)` lowest, as `torch.nn.utils.prune` does (halves go to the even number).
Equal scores go in the order of their positions, the first one first, so that a higher fraction always keeps a subset.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxsparse.checks import InvalidInput, require, require_choice


@dataclass(frozen=True)
class Below:
    """Prune by value: all scores < `threshold`, which is finite and >= 0.

    Raises:
      InvalidInput: for a threshold out of range.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> params = {"dense": {"kernel": jnp.array([[0.1, -2.0, 0.3], [-0.4, 0.05, 1.0]])}}
      >>> print(js.pruning.magnitude(params, js.pruning.Below(0.3))["dense"]["kernel"])
      [[False  True  True]
       [ True False  True]]
    """

    threshold: float

    def __post_init__(self) -> None:
        fine = math.isfinite(self.threshold) and self.threshold >= 0
        require(fine, "threshold", self.threshold, "a finite number >= 0")


Amount: TypeAlias = float | Below
"""How much to prune: the fraction that goes, in [0, 1], or all `Below` a value."""

Sparsity: TypeAlias = Amount | Mapping[str, Amount]
"""An amount for all, or one by name (`by_layer` only), where what is not named is kept whole."""

Scores: TypeAlias = dict[str, jax.Array]
"""By name of a parameter or a layer: how important each entry is, >= 0; or (of what comes out) whether it is kept."""

Comparison: TypeAlias = Callable[[Scores, Sparsity], Scores]


def _kept(scores: jax.Array, amount: Amount) -> jax.Array:
    """Which of the scores `[n, ..]` are kept in each comparison along the first axis; booleans `[n, ..]`."""
    if isinstance(amount, Below):
        return scores >= amount.threshold
    require(0 <= amount <= 1, "sparsity", amount, "a fraction in [0, 1]")
    ranks = jnp.argsort(jnp.argsort(scores, axis=0, stable=True), axis=0)
    return ranks >= round(amount * scores.shape[0])


def _single(sparsity: Sparsity) -> Amount:
    if isinstance(sparsity, Mapping):
        raise InvalidInput("sparsity must be one amount, unless layers are compared one by one (compare=by_layer)")
    return sparsity


def globally(scores: Scores, sparsity: Sparsity) -> Scores:
    """One threshold for all scores together.

    Args:
      scores: of any shapes, by name; >= 0.
      sparsity: fraction of all scores that goes, in [0, 1], or `Below(score)`.

    Returns:
      Booleans by the same names, True = kept.

    Raises:
      InvalidInput: for a fraction outside [0, 1], or an amount by name.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> scores = {"first": jnp.array([1.0, 2.0, 3.0, 4.0]), "second": jnp.array([10.0, 20.0])}
      >>> kept = js.pruning.globally(scores, 0.5)  # three of six go, all of them in the first layer
      >>> print(kept["first"], kept["second"])
      [False False False  True] [ True  True]
    """
    kept = _kept(jnp.concatenate([array.ravel() for array in scores.values()]), _single(sparsity))
    ends = np.cumsum([array.size for array in scores.values()])[:-1]
    parts = jnp.split(kept, ends)
    return {name: part.reshape(scores[name].shape) for name, part in zip(scores, parts, strict=True)}


def by_layer(scores: Scores, sparsity: Sparsity) -> Scores:
    """A threshold for each name.

    Args:
      scores: of any shapes, by name; >= 0.
      sparsity: fraction of each array that goes, in [0, 1], or `Below(score)`; or these by name, where what is not
        named is kept whole.

    Returns:
      Booleans by the same names, True = kept.

    Raises:
      InvalidInput: for a fraction outside [0, 1], or an amount for what is not among the scores.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> scores = {"first": jnp.array([1.0, 2.0, 3.0, 4.0]), "second": jnp.array([10.0, 20.0])}
      >>> kept = js.pruning.by_layer(scores, 0.5)
      >>> print(kept["first"], kept["second"])
      [False False  True  True] [False  True]
      >>> kept = js.pruning.by_layer(scores, {"first": js.pruning.Below(2.5)})
      >>> print(kept["first"], kept["second"])
      [False False  True  True] [ True  True]
    """
    amounts = sparsity if isinstance(sparsity, Mapping) else dict.fromkeys(scores, sparsity)
    for name in amounts:
        require_choice("layer in sparsity", name, tuple(scores))
    return {name: _kept(array.ravel(), amounts.get(name, 0.0)).reshape(array.shape) for name, array in scores.items()}


def by_filter(scores: Scores, sparsity: Sparsity) -> Scores:
    """A threshold for each filter, the incoming weights `[.., inputs]` of one output, of kernels `[.., inputs,
    outputs]`.

    Args:
      scores: `[.., inputs, outputs]` by name; >= 0.
      sparsity: fraction of each filter that goes, in [0, 1], or `Below(score)`.

    Returns:
      Booleans by the same names, True = kept.

    Raises:
      InvalidInput: for a fraction outside [0, 1], or an amount by name.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> scores = {"dense": jnp.array([[1.0, 30.0], [2.0, 10.0], [4.0, 40.0], [3.0, 20.0]])}  # 4 inputs, 2 outputs
      >>> print(js.pruning.by_filter(scores, 0.5)["dense"])
      [[False  True]
       [False False]
       [ True  True]
       [ True False]]
    """
    amount = _single(sparsity)
    return {
        name: _kept(array.reshape(-1, array.shape[-1]), amount).reshape(array.shape) for name, array in scores.items()
    }
