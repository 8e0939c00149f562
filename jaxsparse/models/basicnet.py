"""BasicNet: the seven-convolution network of Mehta et al. 2019 (section 2.1, figure 1).

What the paper's text does not state and how it is filled in here:

- Kernel sizes. The printed 4,649,664 convolution parameters (table 2) are exactly a 5x5 first layer and 3x3 others on
  colour images, without convolution biases; no other simple combination gives that count.
- Pooling. 2x2 max-pooling after C2, C4 and C6, so that 32x32 images end at 4x4.

Stated in section 5: global average pooling after the last convolution, on ImageNet windows of 5 with stride 4; then
dense layers with BatchNorm and ReLU between them, see `BasicNet.head_of`. Section 5.1 has two narrower networks with
the same dense layers: "64-0.5x" has `widths=(64, 64, 64, 128, 128, 256, 256)`, "32-0.25x" `(32, 32, 32, 64, 64, 128,
128)`.
"""

from __future__ import annotations

from typing import ClassVar, Unpack

import jax
from flax import nnx

from jaxsparse.checks import require
from jaxsparse.models.block import LARGE, Options, classifier, convolution, dense_layers

POOLED = (2, 4, 6)
"""Numbers of the convolutions (from 1) that a 2x2 max-pool follows."""


class BasicNet(nnx.Module):
    """`[n, height, width, channels]` images to `[n, classes]` logits.

    Raises:
      InvalidInput: for images too small to be halved by every pool.

    Example:
      >>> import jaxsparse as js
      >>> from flax import nnx
      >>> model = nnx.eval_shape(lambda: js.models.BasicNet(rngs=nnx.Rngs(0)))  # shapes only
      >>> f"{sum(block.linear.kernel.size for block in model.convolutions):,}"  # Mehta et al. 2019, table 2
      '4,649,664'
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
        head: tuple[int, ...] | None = None,
        **options: Unpack[Options],
    ):
        """`widths`: of the convolutions, the first ones where there are fewer than seven; `head`: of the dense layers
        before the last, `head_of(classes)` where not given."""
        pools = sum(number <= len(widths) for number in POOLED)
        smallest = 2**pools
        require(min(shape[:2]) >= smallest, "image sides", shape[:2], f">= {smallest} for {len(widths)} convolutions")
        self.pool_windows = min(shape[:2]) > LARGE
        sizes = (shape[-1], *widths)
        self.convolutions = nnx.List(
            [
                convolution(a, b, size=5 if number == 1 else 3, pool=number in POOLED, **options)
                for number, (a, b) in enumerate(zip(sizes, widths, strict=False), start=1)
            ]
        )
        height, width = ((side // smallest - 5) // 4 + 1 if self.pool_windows else 1 for side in shape[:2])
        dense_sizes = (height * width * sizes[-1], *(self.head_of(classes) if head is None else head))
        self.hidden = dense_layers(dense_sizes, **options)
        self.head = classifier(dense_sizes[-1], classes, **options)

    @staticmethod
    def head_of(classes: int) -> tuple[int, ...]:
        """Dense layers before the last one (section 5): [256] on CIFAR (10 and 100 classes), [512, 256] on TinyImageNet
        (200) and [4096, 2048] on ImageNet (1000); in between, those of the next larger data set."""
        if classes > 200:
            return 4096, 2048
        return (512, 256) if classes > 100 else (256,)

    def __call__(self, x: jax.Array) -> jax.Array:
        for block in self.convolutions:
            x = block(x)
        x = nnx.avg_pool(x, (5, 5), (4, 4)).reshape(x.shape[0], -1) if self.pool_windows else x.mean((1, 2))
        for block in self.hidden:
            x = block(x)
        return self.head(x)
