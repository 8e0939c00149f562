"""AlexNet (Krizhevsky 2014, *One weird trick for parallelizing convolutional neural networks*) as torchvision has it:
five convolutions and three dense layers with biases and without normalisation, 61,100,840 parameters on ImageNet.

Retsinas et al. 2020 (section 5.2, table 3) prune it, dense layers included. Where images are small (sides up to 64) the
first convolution is 5x5 with stride 1 in place of 11x11 with stride 4, and pools are 2x2 in place of 3x3 with stride 2.
What goes into the dense layers is flattened. There is no dropout.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Unpack

import jax
from flax import nnx

from jaxsparse.checks import require
from jaxsparse.layers import RELU, Conv, Linear, max_pool
from jaxsparse.models.block import LARGE, Options, classifier, plain_convolution, xavier

POOLED = (1, 2, 5)
"""Numbers of the convolutions (from 1) that a pool follows."""


class AlexNet(nnx.Module):
    """`[n, height, width, channels]` images to `[n, classes]` logits.

    Raises:
      InvalidInput: for another number of widths than five, images too small for three pools, or an `initial_beta`,
        which only normalisations have.

    Example:
      >>> import jaxsparse as js
      >>> from flax import nnx
      >>> model = nnx.eval_shape(lambda: js.models.AlexNet(rngs=nnx.Rngs(0)))  # shapes only
      >>> f"{js.trees.size(nnx.state(model, nnx.Param)):,}"
      '61,100,840'
    """

    WIDTHS: ClassVar[tuple[int, ...]] = (64, 192, 384, 256, 256)
    HEAD: ClassVar[tuple[int, ...]] = (4096, 4096)
    FEATURES: ClassVar[str] = "convolutions"
    """path of the layers whose units count in the sparsity figures"""

    def __init__(
        self,
        classes: int = 1000,
        *,
        shape: tuple[int, int, int] = (224, 224, 3),
        widths: tuple[int, ...] = WIDTHS,
        head: tuple[int, ...] | None = None,
        **options: Unpack[Options],
    ):
        """`widths`: of the convolutions; `head`: of the dense layers before the last, `HEAD` where not given."""
        require(len(widths) == len(self.WIDTHS), "widths", widths, "five numbers, the convolutions of alexnet")
        beta = options.get("initial_beta", 0.0)
        require(beta == 0, "initial-beta", beta, "left out for alexnet, which has no normalisation")
        smallest = 2 ** len(POOLED)
        require(min(shape[:2]) >= smallest, "image sides", shape[:2], f">= {smallest} for alexnet")
        self.large = min(shape[:2]) > LARGE
        self.activation = options.get("activation", RELU)
        channels = zip(pairwise((shape[-1], *widths)), (5, 5, 3, 3, 3), strict=True)
        convolutions = [plain_convolution(a, b, size=size, **options) for (a, b), size in channels]
        if self.large:
            init, rngs = options.get("kernel_init", xavier), options["rngs"]
            convolutions[0] = Conv(
                shape[-1], widths[0], (11, 11), 4, padding=((2, 2), (2, 2)), kernel_init=init, rngs=rngs
            )
        self.convolutions = nnx.List[Conv](convolutions)
        side = [self._side(length) for length in shape[:2]]
        dense = (side[0] * side[1] * widths[-1], *(self.HEAD if head is None else head))
        self.hidden = nnx.List[Linear]([classifier(a, b, **options) for a, b in pairwise(dense)])
        self.head = classifier(dense[-1], classes, **options)

    def _side(self, length: int) -> int:
        """Of what goes into the dense layers."""
        if not self.large:
            return length >> len(POOLED)
        length = (length + 2 * 2 - 11) // 4 + 1
        for _ in POOLED:
            length = (length - 3) // 2 + 1
        return length

    def __call__(self, x: jax.Array) -> jax.Array:
        for number, convolution in enumerate(self.convolutions, start=1):
            x = self.activation(convolution(x))
            if number in POOLED:
                x = nnx.max_pool(x, (3, 3), (2, 2)) if self.large else max_pool(x)
        x = x.reshape(x.shape[0], -1)
        for linear in self.hidden:
            x = self.activation(linear(x))
        return self.head(x)
