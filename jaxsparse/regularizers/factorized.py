"""Weights as products of factors with an L2 penalty each, which is a sparse penalty of the weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxsparse.checks import require
from jaxsparse.regularizers.base import Chain, LearningRate, WithStrength, given
from jaxsparse.trees import Mask, Tree, matched


class _State(NamedTuple):
    factors: list[Tree]
    """trees as that of the weights; a weight that is no product is in the first alone"""
    inner: optax.OptState


@partial(jax.tree_util.register_dataclass, data_fields=["strength"], meta_fields=["depth"])
@dataclass(frozen=True)
class Factorized(WithStrength):
    """Weights as products of `depth` factors, each with an L2 penalty of the strength: makes sparse under SGD too.

    With `w = u_1 .. u_D`, the gradient of factor k is `g prod_{j != k} u_j + strength * u_k`, and the optimizer acts on
    the factors. The penalty is least where they are alike, `strength D / 2 |w|^(2/D)`: for two the L1 norm times the
    strength. They start alike, the first one with the sign. Without a strength it is still another training.

    Ziyin and Wang 2023 (spred), theorem 1 and algorithm 1; Kolb et al. 2025 (deep weight factorization) for more than
    two. On scales (`mask`, `--regularize scales`) it is network slimming with zeros that are reached.

    Attributes:
      strength: lambda, finite and >= 0; a scalar.
      depth: factors, 2 or more.

    Raises:
      ValueError: if a concrete strength or the depth is out of range.

    Example:
      The loss pulls with less than the strength: L2 leaves a smaller weight, a product of two factors none.

      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> gradients = jnp.full((5000, 1), -0.05)
      >>> for regularizer in (js.CoupledL2(0.06), js.regularizers.Factorized(0.06)):
      ...     w = js.simulate(js.sgd(0.1, regularizer=regularizer), jnp.ones(1), gradients)
      ...     print(f"{type(regularizer).__name__}: {w[-1, 0]:.2f}")
      CoupledL2: 0.83
      Factorized: 0.00
    """

    depth: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.depth >= 2, "depth", self.depth, "a whole number >= 2")

    @property
    def name(self) -> str:
        return "spred" if self.depth == 2 else f"spred-{self.depth}"

    def around(
        self, chain: Chain, learning_rate: LearningRate | None, mask: Mask | None
    ) -> optax.GradientTransformation:
        """An optimizer of the factors, whose updates are those of their products."""
        del learning_rate
        inner = optax.chain(*chain)

        def init_fn(params: Tree) -> optax.OptState:
            leaves, structure = jax.tree.flatten(params)
            products = [True] * len(leaves) if mask is None else jax.tree.leaves(matched(mask)(params))
            factors = _trees(structure, [self._taken_apart(w, on) for w, on in zip(leaves, products, strict=True)])
            return _State(factors, inner.init(factors))

        def update_fn(updates: Tree, state: Any, params: Tree = None) -> tuple[Tree, optax.OptState]:
            gradients, structure = jax.tree.flatten(updates)
            pulls = map(self._pulls, gradients, _by_weight(state.factors))
            steps, inner_state = inner.update(_trees(structure, list(pulls)), state.inner, state.factors)
            factors: Any = optax.apply_updates(state.factors, steps)
            moved = [
                step[0] if len(step) == 1 else math.prod(several) - w
                for step, several, w in zip(
                    _by_weight(steps), _by_weight(factors), jax.tree.leaves(given(params)), strict=True
                )
            ]
            return structure.unflatten(moved), _State(factors, inner_state)

        return optax.GradientTransformation(init_fn, update_fn)

    def _taken_apart(self, w: jax.Array, product: bool) -> list[jax.Array]:
        """The factors of a weight, none of which shares memory with it, as a training may donate both."""
        if not product:
            return [jnp.copy(w)]
        size = jnp.abs(w) ** (1 / self.depth)
        return [jnp.copysign(size, w), *(jnp.copy(size) for _ in range(1, self.depth))]

    def _pulls(self, gradient: jax.Array, factors: list[jax.Array]) -> list[jax.Array]:
        """The gradient of each factor, with its penalty."""
        if len(factors) == 1:
            return [gradient]
        others = (math.prod(factors[:k] + factors[k + 1 :]) for k in range(self.depth))
        return [gradient * other + self.strength * u for other, u in zip(others, factors, strict=True)]


def _trees(structure: Any, by_weight: list[list[jax.Array]]) -> list[Tree]:
    """A tree of the first factors, one of the second ones and so on."""
    depth = max(map(len, by_weight), default=1)
    return [structure.unflatten([u[k] if k < len(u) else None for u in by_weight]) for k in range(depth)]


def _by_weight(trees: Any) -> list[list[jax.Array]]:
    """The factors of each weight."""
    listed = [jax.tree.leaves(tree, is_leaf=lambda leaf: leaf is None) for tree in trees]
    return [[u for u in several if u is not None] for several in zip(*listed, strict=True)]
