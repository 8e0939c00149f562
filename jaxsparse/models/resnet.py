"""ResNet-50 (He et al. 2016, *Deep residual learning for image recognition*, table 1) as torchvision has it: 25,557,032
parameters on ImageNet.

A 7x7 convolution and a pool, each of stride 2, four groups of bottlenecks, the second to fourth of which halve the
image in their first 3x3 convolution, the average over the image and one dense layer. A bottleneck is a 1x1, a 3x3 and
a 1x1 convolution, each with a normalisation, added to what goes in; where that has another shape, to a 1x1 convolution
of it. Where images are small (sides up to 64) it begins with a 3x3 convolution of stride 1 and no pool, as ResNets on
CIFAR do (section 4.2).
"""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

import jax
from flax import nnx

from jaxsparse.checks import require
from jaxsparse.layers import RELU, BatchNorm, Conv
from jaxsparse.models.block import LARGE, Block, Options, classifier, convolution, normalisation, plain_convolution

BLOCKS = (3, 4, 6, 3)
"""Bottlenecks of each group."""
INNER, OUTER = (64, 128, 256, 512), (256, 512, 1024, 2048)
"""Channels inside the bottlenecks of each group, and of what they put out."""


def _by_block(values: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(value for value, times in zip(values, BLOCKS, strict=True) for _ in range(times))


class ResNet50(nnx.Module):
    """`[n, height, width, channels]` images to `[n, classes]` logits.

    Raises:
      InvalidInput: for another number of widths than `WIDTHS` has, a `head`, or no batch normalisation.

    Example:
      >>> import jaxsparse as js
      >>> from flax import nnx
      >>> model = nnx.eval_shape(lambda: js.models.ResNet50(rngs=nnx.Rngs(0)))  # shapes only
      >>> f"{js.trees.size(nnx.state(model, nnx.Param)):,}", len(model.inner), len(model.outer)
      ('25,557,032', 32, 16)
    """

    WIDTHS: ClassVar[tuple[int, ...]] = (
        *(INNER[0], *_by_block(OUTER)),
        *(width for width in _by_block(INNER) for _ in range(2)),
    )
    """of the first convolution, of what each bottleneck puts out, and of the two convolutions inside of each"""
    FEATURES: ClassVar[str] = "inner"
    """path of the layers whose units count in the sparsity figures: the first two convolutions of each bottleneck,
    because what the third one adds to is read by several layers"""
    COUNTED: ClassVar[slice] = slice(1 + sum(BLOCKS), None)
    """which of the widths are theirs"""

    def __init__(
        self,
        classes: int = 1000,
        *,
        shape: tuple[int, int, int] = (224, 224, 3),
        widths: tuple[int, ...] = WIDTHS,
        head: tuple[int, ...] | None = None,
        **options: Unpack[Options],
    ):
        own, blocks = self.WIDTHS, sum(BLOCKS)
        require(len(widths) == len(own), "widths", widths, f"{len(own)} numbers")
        require(not head, "head", head, "left out for resnet-50, which has no hidden dense layer")
        require(options.get("batch_norm", True), "batch-norm", False, "on for resnet-50")
        self.large = min(shape[:2]) > LARGE
        size, stride = (7, 2) if self.large else (3, 1)
        self.first = convolution(shape[-1], widths[0], size=size, stride=stride, **options)
        halving = {sum(BLOCKS[:group]) for group in range(1, len(BLOCKS))}
        self.activation = options.get("activation", RELU)
        self.inner = nnx.List[Block]()
        self.outer, self.norms = nnx.List[Conv](), nnx.List[BatchNorm]()
        self.shortcuts, self.shortcut_norms = nnx.List[Conv | None](), nnx.List[BatchNorm | None]()
        for block in range(blocks):
            inputs, outputs = widths[block : block + 2]
            narrow, between = widths[1 + blocks + 2 * block : 3 + blocks + 2 * block]
            reshapes, stride = own[block] != own[block + 1] or inputs != outputs, 2 if block in halving else 1
            self.inner.append(convolution(inputs, narrow, size=1, **options))
            self.inner.append(convolution(narrow, between, stride=stride, **options))
            self.outer.append(plain_convolution(between, outputs, size=1, bias=False, **options))
            self.norms.append(normalisation(outputs, **options))
            self.shortcuts.append(
                plain_convolution(inputs, outputs, size=1, stride=stride, bias=False, **options) if reshapes else None
            )
            self.shortcut_norms.append(normalisation(outputs, **options) if reshapes else None)
        self.head = classifier(widths[blocks], classes, **options)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.first(x)
        if self.large:
            padding: Any = ((1, 1), (1, 1))
            x = nnx.max_pool(x, (3, 3), (2, 2), padding)
        inner = zip(self.inner[::2], self.inner[1::2], strict=True)
        shortcuts = zip(self.shortcuts, self.shortcut_norms, strict=True)
        for (narrow, between), outer, norm, (shortcut, shortcut_norm) in zip(
            inner, self.outer, self.norms, shortcuts, strict=True
        ):
            added = norm(outer(between(narrow(x))))
            if shortcut is not None and shortcut_norm is not None:
                x = shortcut_norm(shortcut(x))
            x = self.activation(x + added)
        return self.head(x.mean((1, 2)))
