"""BasicNet: the seven-convolution network of Mehta et al. 2019 (section 2.1, figure 1).

What the paper's text does not state and how it is filled in here:

- Kernel sizes. The printed 4,649,664 convolution parameters (table 2) are exactly a 5x5 first layer and 3x3 others on
  colour images, without convolution biases; no other simple combination gives that count.
- Pooling. 2x2 max-pooling after C2, C4 and C6, so that 32x32 images end at 4x4.
- Head: global average pooling, then [256][classes] with BatchNorm and ReLU between (section 5).
"""

from __future__ import annotations

from typing import ClassVar

import jax
from flax import nnx

from jaxsparse.config import require
from jaxsparse.models.block import classifier, convolution, dense

POOLED = (2, 4, 6)
"""Numbers of the convolutions (from 1) that a 2x2 max-pool follows."""


class BasicNet(nnx.Module):
    """`[n, height, width, channels]` images to `[n, classes]` logits.

    Raises:
      InvalidInput: for images too small to be halved by every pool.
    """

    WIDTHS: ClassVar[tuple[int, ...]] = (64, 128, 128, 256, 256, 512, 512)
    FEATURES: ClassVar[str] = "convolutions"
    """path of the layers whose units count in the sparsity figures (section 2.2: only convolution features)"""

    def __init__(
        self,
        classes: int = 10,
        *,
        shape: tuple[int, int, int] = (32, 32, 3),
        widths: tuple[int, ...] = WIDTHS,
        head: int = 256,
        rngs: nnx.Rngs,
    ):
        pools = sum(number <= len(widths) for number in POOLED)
        smallest = 2**pools
        require(min(shape[:2]) >= smallest, "image sides", shape[:2], f">= {smallest} for {len(widths)} convolutions")
        sizes = (shape[-1], *widths)
        self.convolutions = nnx.List(
            [
                convolution(a, b, size=5 if number == 1 else 3, pool=number in POOLED, rngs=rngs)
                for number, (a, b) in enumerate(zip(sizes, widths, strict=False), start=1)
            ]
        )
        self.hidden = dense(sizes[-1], head, rngs=rngs)
        self.head = classifier(head, classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        for block in self.convolutions:
            x = block(x)
        return self.head(self.hidden(x.mean((1, 2))))
