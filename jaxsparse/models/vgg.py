"""VGG: 3x3 convolutions in five groups that halve the image (Simonyan and Zisserman 2015), with batch normalisation.

As Mehta et al. 2019 use it (section 5), where stated; the rest is filled in with the standard network:

- BatchNorm after every convolution, which their measure of |gamma| needs; so convolutions have no bias.
- 2x2 max-pooling after each group. VGG-19 ends in an average in place of the fifth, and in one linear layer: it is the
  network of network slimming (Liu et al. 2017), with 20.04 M parameters on CIFAR-10.
- Dense layers: see `VGG.head_of`. What goes into them is averaged over the image; on ImageNet (images with sides above
  64) it is flattened, as in the original.

With `dropout` the network is that of Zagoruyko's "92.45 % on CIFAR-10 in Torch" (2015, `vgg_bn_drop`; from Yaguchi et
al. 2018, section V-A, we take it to be their [31]): in training, activations are dropped behind every convolution but
the last of a group, and what goes into a dense layer is. See `RATES`.

Five pools need images of 32x32. Smaller ones go without the first pools, so that the later layers, where most
weights are, see more than one pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from types import MappingProxyType
from typing import ClassVar, NamedTuple, Unpack

import jax
from flax import nnx

from jaxsparse.checks import require
from jaxsparse.layers import dropout as drop
from jaxsparse.models.block import LARGE, Options, classifier, convolution, dense_layers

GROUPS: Mapping[int, tuple[int, ...]] = MappingProxyType(
    {11: (1, 1, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
)
"""Convolutions of each group, by depth."""
WIDTHS = (64, 128, 256, 512, 512)
"""Channels of each group."""


class Rates(NamedTuple):
    """Shares of the activations that dropout sets to zero."""

    first: float
    """behind the convolutions of the first group, less its last"""
    later: float
    """of the other groups"""
    dense: float
    """before each dense layer, the last one too"""


RATES = Rates(0.3, 0.4, 0.5)
"""Zagoruyko's."""


class VGG(nnx.Module):
    """`[n, height, width, channels]` images to `[n, classes]` logits.

    Raises:
      InvalidInput: for a depth without network, or more widths than it has convolutions.

    Example:
      >>> import jaxsparse as js
      >>> from flax import nnx
      >>> model = nnx.eval_shape(lambda: js.models.VGG(19, rngs=nnx.Rngs(0)))  # shapes only
      >>> f"{js.trees.size(nnx.state(model, nnx.Param)):,}"
      '20,035,018'
      >>> js.models.VGG.widths_of(11), js.models.VGG.head_of(11, classes=1000)
      ((64, 128, 256, 256, 512, 512, 512, 512), (4096, 4096))
    """

    FEATURES: ClassVar[str] = "convolutions"
    """path of the layers whose units count in the sparsity figures"""

    def __init__(
        self,
        depth: int = 19,
        classes: int = 10,
        *,
        shape: tuple[int, int, int] = (32, 32, 3),
        widths: tuple[int, ...] | None = None,
        head: tuple[int, ...] | None = None,
        dropout: bool = False,
        **options: Unpack[Options],
    ):
        """`widths`: of the convolutions (`widths_of(depth)` where not given), the first ones where there are fewer;
        `head`: of the dense layers before the last, `head_of(depth, classes)` where not given; `dropout`: whether a
        call with a key drops activations."""
        own = self.widths_of(depth)
        widths = own if widths is None else widths
        most = len(own)
        require(len(widths) <= most, "widths", widths, f"at most {most} numbers, the convolutions of vgg-{depth}")
        ends = [end for end in accumulate(GROUPS[depth]) if end <= len(widths)]
        halvings = min(shape[:2]).bit_length() - 1
        pooled = [end for end in ends[max(0, len(ends) - halvings) :] if not (depth == 19 and end == most)]
        sizes = (shape[-1], *widths)
        self.convolutions = nnx.List(
            [
                convolution(a, b, pool=number in pooled, **options)
                for number, (a, b) in enumerate(zip(sizes, widths, strict=False), start=1)
            ]
        )
        self.flatten = depth != 19 and min(shape[:2]) > LARGE
        height, width = (side >> len(pooled) if self.flatten else 1 for side in shape[:2])
        dense_sizes = (height * width * sizes[-1], *(self.head_of(depth, classes) if head is None else head))
        self.hidden = dense_layers(dense_sizes, **options)
        behind = [RATES.first if number <= GROUPS[depth][0] else RATES.later for number in range(1, len(sizes))]
        places = [0.0 if number in ends else rate for number, rate in enumerate(behind, start=1)]
        self.rates = (*places, *(RATES.dense for _ in dense_sizes)) if dropout else ()
        self.head = classifier(dense_sizes[-1], classes, **options)

    @staticmethod
    def widths_of(depth: int) -> tuple[int, ...]:
        """Channels of each convolution.

        Raises:
          InvalidInput: for a depth without network.
        """
        require(depth in GROUPS, "depth", depth, "one of " + " ".join(map(str, GROUPS)))
        return tuple(width for width, times in zip(WIDTHS, GROUPS[depth], strict=True) for _ in range(times))

    @staticmethod
    def head_of(depth: int, classes: int) -> tuple[int, ...]:
        """Dense layers before the last one (section 5): none in VGG-19; else [512] on CIFAR (10 and 100 classes),
        [512, 256] on TinyImageNet (200) and [4096, 4096] on ImageNet (1000); in between, as on the next larger one."""
        if depth == 19:
            return ()
        if classes > 200:
            return 4096, 4096
        return (512, 256) if classes > 100 else (512,)

    def __call__(self, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        """With a key, which only training gives, activations are dropped where the network has dropout."""

        def dropped(x: jax.Array, place: int) -> jax.Array:
            if key is None or not self.rates or self.rates[place] == 0:
                return x
            return drop(x, self.rates[place], jax.random.fold_in(key, place))

        for place, block in enumerate(self.convolutions):
            x = dropped(block(x), place)
        x = x.reshape(x.shape[0], -1) if self.flatten else x.mean((1, 2))
        for place, block in enumerate(self.hidden, start=len(self.convolutions)):
            x = block(dropped(x, place))
        return self.head(dropped(x, len(self.convolutions) + len(self.hidden)))
