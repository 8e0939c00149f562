"""The block every network here repeats: a linear map, batch normalisation, activation, and where asked a max-pool.

Without batch normalisation the linear map has a bias, which is otherwise the normalisation's beta.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Literal, Required, TypedDict, Unpack

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn.initializers import constant, variance_scaling

from jaxsparse.layers import RELU, Activation, BatchNorm, Conv, Linear, max_pool

LARGE = 64
"""Images whose sides are all longer are treated as those of ImageNet where the convolutions end."""


class Options(TypedDict, total=False):
    """What all blocks of a network share."""

    activation: Activation
    """ReLU where not given"""
    initial_beta: float
    """what the biases of the normalisations start at, 0 where not given; their scales start at 1"""
    batch_norm: bool
    """whether blocks have a normalisation; they have where not given"""
    batch_norm_parts: int
    """of a batch, normalised each on its own; one where not given"""
    kernel_init: nnx.Initializer
    """`xavier` where not given"""
    rngs: Required[nnx.Rngs]


def _initializer(mode: Literal["fan_in", "fan_avg"], distribution: Literal["uniform", "normal"]) -> nnx.Initializer:
    """Of variance 2 / fan. A kernel without entries is allowed: a layer may have died whole."""
    drawn = variance_scaling(2.0, mode, distribution)

    def initial(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32, **sharding: Any) -> jax.Array:
        return jnp.zeros(shape, dtype) if 0 in shape else drawn(key, shape, dtype, **sharding)

    return initial


xavier = _initializer("fan_avg", "uniform")
"""Xavier initialisation with the ReLU gain sqrt(2): variance 2 * 2 / (fan_in + fan_out) (Mehta et al. 2019, section
2.1; that the distribution is the uniform one is not stated there)."""

he = _initializer("fan_in", "normal")
"""He initialisation: normal with variance 2 / fan_in (He et al. 2015, section 2.2, equation 10)."""

INITIALISATIONS: Mapping[str, nnx.Initializer] = MappingProxyType({"xavier": xavier, "he": he})
"""Of kernels, by name, for `--initialisation`; biases start at 0."""


def _kernel_init(options: Options) -> nnx.Initializer:
    return options.get("kernel_init", xavier)


def normalisation(features: int, **options: Unpack[Options]) -> BatchNorm:
    """Batch normalisation that starts as `options` say."""
    beta, parts = constant(options.get("initial_beta", 0.0)), options.get("batch_norm_parts", 1)
    return BatchNorm(features, bias_init=beta, parts=parts, rngs=options["rngs"])


def plain_convolution(
    inputs: int, features: int, *, size: int = 3, stride: int = 1, bias: bool = True, **options: Unpack[Options]
) -> Conv:
    """A `size` x `size` convolution of zero-padded images, `[n, h, w, inputs]` to `[n, h / stride, w / stride,
    features]`, rounded up."""
    padding, init = ((size // 2, size // 2),) * 2, _kernel_init(options)
    return Conv(
        inputs, features, (size, size), stride, padding=padding, use_bias=bias, kernel_init=init, rngs=options["rngs"]
    )


class Block(nnx.Module):
    """`pool(activation(norm(linear(x))))`, or without the normalisation, as `options` say; then `norm` is None."""

    def __init__(
        self,
        linear: Linear | Conv,
        features: int,
        *,
        pool: bool = False,
        **options: Unpack[Options],
    ):
        self.linear = linear
        self.norm = normalisation(features, **options) if options.get("batch_norm", True) else None
        self.activation = options.get("activation", RELU)
        self.pool = pool

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.norm is not None:
            return self.norm.activated(self.linear(x), self.activation, pool=self.pool)
        x = self.activation(self.linear(x))
        return max_pool(x) if self.pool else x


def dense(inputs: int, features: int, **options: Unpack[Options]) -> Block:
    """Block of a fully connected layer: `[n, inputs]` to `[n, features]`."""
    bias = not options.get("batch_norm", True)
    linear = Linear(inputs, features, use_bias=bias, kernel_init=_kernel_init(options), rngs=options["rngs"])
    return Block(linear, features, **options)


def dense_layers(sizes: Sequence[int], **options: Unpack[Options]) -> nnx.List[Block]:
    """Fully connected blocks, one after another: `[n, sizes[0]]` to `[n, sizes[-1]]`."""
    return nnx.List([dense(a, b, **options) for a, b in pairwise(sizes)])


def convolution(
    inputs: int,
    features: int,
    *,
    size: int = 3,
    stride: int = 1,
    bias: bool = False,
    pool: bool = False,
    **options: Unpack[Options],
) -> Block:
    """Block of a `plain_convolution`: `[n, h, w, inputs]` to `[n, h, w, features]`, or half of h and w with `pool`."""
    bias = bias or not options.get("batch_norm", True)
    linear = plain_convolution(inputs, features, size=size, stride=stride, bias=bias, **options)
    return Block(linear, features, pool=pool, **options)


def classifier(inputs: int, classes: int, **options: Unpack[Options]) -> Linear:
    """The last layer: logits with a bias."""
    return Linear(inputs, classes, kernel_init=_kernel_init(options), rngs=options["rngs"])
