"""Fully connected network with batch normalisation before each ReLU (Yaguchi et al. 2018, section V-A)."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar

import jax
from flax import nnx

from jaxsparse.models.block import classifier, dense


class MLP(nnx.Module):
    """`[n, ..]` images, flattened, through hidden layers of the given widths to `[n, classes]` logits."""

    WIDTHS: ClassVar[tuple[int, ...]] = (300,)
    FEATURES: ClassVar[str] = "hidden"
    """path of the layers whose units count in the sparsity figures"""

    def __init__(
        self,
        classes: int = 10,
        *,
        shape: tuple[int, ...] = (8, 8, 1),
        widths: tuple[int, ...] = WIDTHS,
        rngs: nnx.Rngs,
    ):
        sizes = (math.prod(shape), *widths)
        self.hidden = nnx.List([dense(a, b, rngs=rngs) for a, b in pairwise(sizes)])
        self.head = classifier(sizes[-1], classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.reshape(x.shape[0], -1)
        for block in self.hidden:
            x = block(x)
        return self.head(x)
