"""Wide residual networks (Zagoruyko and Komodakis 2016), as Retsinas et al. 2020 sparsify them on CIFAR-100.

A first convolution of 16 channels, three groups of residual blocks with 16, 32 and 64 times `widen` channels, where the
second and third each halve the image, a normalisation, and the average over the image. A block normalises and activates
before each of its two 3x3 convolutions; where it changes the shape, its shortcut is a 1x1 convolution of what goes into
the first of them. The parameters that Retsinas et al. print (table 2: 11.012 M for WRN-16-8) take a bias on every
convolution, shortcuts included: 11,012,036, and 11,007,540 without.
"""

from __future__ import annotations

from typing import ClassVar, Unpack

import jax
from flax import nnx

from jaxsparse.checks import require
from jaxsparse.layers import RELU, BatchNorm, Conv
from jaxsparse.models.block import Block, Options, classifier, convolution, normalisation, plain_convolution

FIRST = 16
"""Channels of the first convolution."""
GROUPS = (16, 32, 64)
"""Channels of each group, before they are multiplied by `widen`."""


class WRN(nnx.Module):
    """`[n, height, width, channels]` images to `[n, classes]` logits.

    Raises:
      InvalidInput: for a depth that is not 6 n + 4, another number of widths than convolutions, or a `head`.

    Example:
      >>> import jaxsparse as js
      >>> from flax import nnx
      >>> model = nnx.eval_shape(lambda: js.models.WRN(16, 8, rngs=nnx.Rngs(0)))  # shapes only
      >>> f"{js.trees.size(nnx.state(model, nnx.Param)):,}"  # 11.012 M in Retsinas et al. 2020, table 2
      '11,012,036'
      >>> js.models.WRN.widths_of(16, 8)
      (16, 128, 128, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512)
    """

    FEATURES: ClassVar[str] = "inner"
    """path of the layers whose units count in the sparsity figures: the first convolution of each block, because what
    the second one adds to is read by several layers"""
    COUNTED: ClassVar[slice] = slice(1, None, 2)
    """which of the widths are theirs"""

    def __init__(
        self,
        depth: int = 16,
        widen: int = 8,
        classes: int = 100,
        *,
        shape: tuple[int, int, int] = (32, 32, 3),
        widths: tuple[int, ...] | None = None,
        head: tuple[int, ...] | None = None,
        **options: Unpack[Options],
    ):
        """`widths`: of every 3x3 convolution in order, the first and two a block; `widths_of` where not given. A dense
        network as small as a sparse one has smaller widths throughout (Retsinas et al. 2020, equation 12)."""
        own = self.widths_of(depth, widen)
        widths = own if widths is None else widths
        require(len(widths) == len(own), "widths", widths, f"{len(own)} numbers, one for each 3x3 convolution")
        require(not head, "head", head, "left out for a wide residual network, which has no hidden dense layer")
        require(options.get("batch_norm", True), "batch-norm", False, "on for a wide residual network")
        blocks = (len(own) - 1) // 2
        self.first = plain_convolution(shape[-1], widths[0], **options)
        self.activation = options.get("activation", RELU)
        self.before, self.inner = nnx.List[BatchNorm](), nnx.List[Block]()
        self.outer, self.shortcuts = nnx.List[Conv](), nnx.List[Conv | None]()
        for block in range(blocks):
            inputs, between, outputs = widths[2 * block : 2 * block + 3]
            stride = 2 if block in (blocks // 3, 2 * blocks // 3) else 1
            reshapes = own[2 * block] != own[2 * block + 2] or inputs != outputs
            self.before.append(normalisation(inputs, **options))
            self.inner.append(convolution(inputs, between, stride=stride, bias=True, **options))
            self.outer.append(plain_convolution(between, outputs, **options))
            self.shortcuts.append(
                plain_convolution(inputs, outputs, size=1, stride=stride, **options) if reshapes else None
            )
        self.last = normalisation(widths[-1], **options)
        self.head = classifier(widths[-1], classes, **options)

    @staticmethod
    def widths_of(depth: int, widen: int) -> tuple[int, ...]:
        """Channels of every 3x3 convolution, in order.

        Raises:
          InvalidInput: for a depth without network, or nothing to widen by.
        """
        require(depth > 4 and depth % 6 == 4, "depth", depth, "10, 16, 22, .. (6 n + 4)")
        require(widen >= 1, "widen", widen, "a whole number >= 1")
        return (FIRST, *(widen * width for width in GROUPS for _ in range((depth - 4) // 3)))

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.first(x)
        for norm, inner, outer, shortcut in zip(self.before, self.inner, self.outer, self.shortcuts, strict=True):
            activated = norm.activated(x, self.activation)
            x = (x if shortcut is None else shortcut(activated)) + outer(inner(activated))
        return self.head(self.last.activated(x, self.activation).mean((1, 2)))
