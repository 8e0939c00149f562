"""Activation functions by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import jax
import jax.numpy as jnp

from jaxsparse.checks import require, require_choice

Activation: TypeAlias = Callable[[jax.Array], jax.Array]
"""A function of each number on its own."""


@dataclass(frozen=True)
class Rectifier:
    """`x` where it is positive, `slope * x` elsewhere: ReLU with slope 0, else leaky ReLU (Maas et al. 2013).

    The derivative at 0 is the slope, as in PyTorch.

    Raises:
      InvalidInput: for a slope outside of [0, 1).
    """

    slope: float = 0.0

    def __post_init__(self) -> None:
        require(0 <= self.slope < 1, "slope", self.slope, "in [0, 1)")

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.where(x > 0, x, self.slope * x) if self.slope else jax.nn.relu(x)


_BY_NAME: dict[str, Callable[[float], Activation]] = {
    "relu": lambda slope: Rectifier(),
    "leaky-relu": Rectifier,
    "elu": lambda slope: jax.nn.elu,
    "tanh": lambda slope: jnp.tanh,
    "sigmoid": lambda slope: jax.nn.sigmoid,
}

ACTIVATIONS: tuple[str, ...] = tuple(_BY_NAME)
"""Names of the activation functions, for `--activation`."""


def activation(name: str, slope: float = 0.01) -> Activation:
    """The activation function of a name; `slope` in [0, 1) is that of `leaky-relu` below zero.

    `elu` is `x` where it is positive and `exp(x) - 1` elsewhere (Clevert et al. 2016, with alpha = 1).

    Raises:
      InvalidInput: for an unknown name, or a slope out of range.
    """
    require_choice("activation", name, ACTIVATIONS)
    return _BY_NAME[name](slope)
