"""Fully connected network, by default with batch normalisation before each activation (Yaguchi et al. 2018, V-A)."""

from __future__ import annotations

import math
from typing import ClassVar, Unpack

import jax
from flax import nnx

from jaxsparse.checks import require
from jaxsparse.models.block import Options, classifier, dense_layers


class MLP(nnx.Module):
    """`[n, ..]` images, flattened, through hidden layers of the given widths to `[n, classes]` logits.

    Raises:
      InvalidInput: for a `head`, which only convolutional networks have.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> from flax import nnx
      >>> model = js.models.MLP(10, shape=(8, 8, 1), widths=(30, 20), rngs=nnx.Rngs(0))
      >>> model(jnp.ones((2, 8, 8, 1))).shape, [block.linear.kernel.shape for block in model.hidden]
      ((2, 10), [(64, 30), (30, 20)])
    """

    WIDTHS: ClassVar[tuple[int, ...]] = (300,)
    FEATURES: ClassVar[str] = "hidden"
    """path of the layers whose units count in the sparsity figures"""

    def __init__(
        self,
        classes: int = 10,
        *,
        shape: tuple[int, ...] = (8, 8, 1),
        widths: tuple[int, ...] = WIDTHS,
        head: tuple[int, ...] | None = None,
        **options: Unpack[Options],
    ):
        require(head is None, "head", head, "left out for mlp, whose widths are all its hidden layers")
        sizes = (math.prod(shape), *widths)
        self.hidden = dense_layers(sizes, **options)
        self.head = classifier(sizes[-1], classes, **options)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.reshape(x.shape[0], -1)
        for block in self.hidden:
            x = block(x)
        return self.head(x)
