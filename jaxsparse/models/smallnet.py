"""BatraNet: the small network that Batra et al. 2024 prune, four convolutions of three filters without normalisation.

Stated (sections 1.3, 1.4 and 2.2): four convolutions with three filters each and, on colour images, three channels a
filter; no batch normalisation; further layers hold most of the weights. What is not stated is filled in:

- 3x3 filters with a bias, ReLU, zero padding.
- 2x2 max-pooling after the second and the fourth convolution, where images are large enough; then flattened.
- One dense layer with a bias and ReLU before the last one. Pruning 60 to 70 % of the convolutions' weights gives a
  sparsity of 6 to 7 % (section 2.2), so it has as many units as leave the convolutions a tenth of all parameters: see
  `BatraNet.head_of`. (With other `widths` it stays the same, and the share changes.)
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Unpack

import jax
from flax import nnx

from jaxsparse.checks import require
from jaxsparse.layers import RELU, Conv, Linear, max_pool
from jaxsparse.models.block import Options, classifier, plain_convolution

POOLED = (2, 4)
"""Numbers of the convolutions (from 1) that a 2x2 max-pool follows."""
SHARE = 0.1
"""Of all parameters, held by the convolutions."""


class BatraNet(nnx.Module):
    """`[n, height, width, channels]` images to `[n, classes]` logits.

    Raises:
      InvalidInput: for more than four widths, or an `initial_beta`, which only normalisations have.

    Example:
      >>> import jaxsparse as js
      >>> from flax import nnx
      >>> model = js.models.BatraNet(rngs=nnx.Rngs(0))
      >>> sizes = {name: js.trees.size(nnx.state(getattr(model, name))) for name in ("convolutions", "hidden", "head")}
      >>> sizes, round(sizes["convolutions"] / sum(sizes.values()), 2)
      ({'convolutions': 336, 'hidden': 2895, 'head': 160}, 0.1)
    """

    WIDTHS: ClassVar[tuple[int, ...]] = (3, 3, 3, 3)
    FEATURES: ClassVar[str] = "convolutions"
    """path of the layers whose units count in the sparsity figures"""

    def __init__(
        self,
        classes: int = 10,
        *,
        shape: tuple[int, int, int] = (32, 32, 3),
        widths: tuple[int, ...] = WIDTHS,
        head: tuple[int, ...] | None = None,
        **options: Unpack[Options],
    ):
        """`widths`: of the convolutions, the first ones where there are fewer than four; `head`: of the dense layers
        before the last, `head_of(shape, classes)` where not given."""
        most = len(self.WIDTHS)
        require(len(widths) <= most, "widths", widths, f"at most {most} numbers, the convolutions of batranet")
        beta = options.get("initial_beta", 0.0)
        require(beta == 0, "initial-beta", beta, "left out for batranet, which has no normalisation")
        self.pooled = _pooled(shape, len(widths))
        self.activation = options.get("activation", RELU)
        channels = (shape[-1], *widths)
        self.convolutions = nnx.List[Conv]([plain_convolution(a, b, **options) for a, b in pairwise(channels)])
        sizes = (_features(shape, channels), *(self.head_of(shape, classes) if head is None else head))
        self.hidden = nnx.List[Linear]([classifier(a, b, **options) for a, b in pairwise(sizes)])
        self.head = classifier(sizes[-1], classes, **options)

    @staticmethod
    def head_of(shape: tuple[int, int, int], classes: int) -> tuple[int, ...]:
        """The dense layer before the last one, of n >= 1 units: with `WIDTHS`, `n (features + 1) + classes (n + 1)`
        parameters are nine times those of the convolutions, as nearly as can be."""
        channels = (shape[-1], *BatraNet.WIDTHS)
        convolutions = sum(9 * a * b + b for a, b in pairwise(channels))
        wanted = convolutions * (1 - SHARE) / SHARE
        return (max(1, round((wanted - classes) / (_features(shape, channels) + 1 + classes))),)

    def __call__(self, x: jax.Array) -> jax.Array:
        for number, convolution in enumerate(self.convolutions, start=1):
            x = self.activation(convolution(x))
            x = max_pool(x) if number in self.pooled else x
        x = x.reshape(x.shape[0], -1)
        for linear in self.hidden:
            x = self.activation(linear(x))
        return self.head(x)


def _pooled(shape: tuple[int, int, int], convolutions: int) -> tuple[int, ...]:
    """Numbers of the convolutions that a pool follows, on images large enough to be halved."""
    halvings = min(shape[:2]).bit_length() - 1
    return tuple(number for number in POOLED if number <= convolutions)[:halvings]


def _features(shape: tuple[int, int, int], channels: tuple[int, ...]) -> int:
    """Numbers that go into the first dense layer."""
    pools = len(_pooled(shape, len(channels) - 1))
    return (shape[0] >> pools) * (shape[1] >> pools) * channels[-1]
