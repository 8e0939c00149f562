"""The block every network here repeats: a linear map, batch normalisation, activation, and where asked a max-pool."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Required, TypedDict, Unpack

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn.initializers import constant, variance_scaling

from jaxsparse.layers import RELU, Activation, BatchNorm, Conv

LARGE = 64
"""Images whose sides are all longer are treated as those of ImageNet where the convolutions end."""


class Options(TypedDict, total=False):
    """What all blocks of a network share."""

    activation: Activation
    """ReLU where not given"""
    initial_beta: float
    """what the biases of the normalisations start at, 0 where not given; their scales start at 1"""
    rngs: Required[nnx.Rngs]


def xavier(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32, **sharding: Any) -> jax.Array:
    """Xavier initialisation with the ReLU gain sqrt(2): variance 2 * 2 / (fan_in + fan_out) (Mehta et al. 2019, section
    2.1; that the distribution is the uniform one is not stated there). A kernel without entries is allowed: a layer
    may have died whole."""
    if 0 in shape:
        return jnp.zeros(shape, dtype)
    return variance_scaling(2.0, "fan_avg", "uniform")(key, shape, dtype, **sharding)


def normalisation(features: int, **options: Unpack[Options]) -> BatchNorm:
    """Batch normalisation that starts as `options` say."""
    return BatchNorm(features, bias_init=constant(options.get("initial_beta", 0.0)), rngs=options["rngs"])


def plain_convolution(
    inputs: int, features: int, *, size: int = 3, stride: int = 1, bias: bool = True, rngs: nnx.Rngs
) -> Conv:
    """A `size` x `size` convolution of zero-padded images, `[n, h, w, inputs]` to `[n, h / stride, w / stride,
    features]`, rounded up."""
    padding = ((size // 2, size // 2),) * 2
    return Conv(inputs, features, (size, size), stride, padding=padding, use_bias=bias, kernel_init=xavier, rngs=rngs)


class Block(nnx.Module):
    """`pool(activation(norm(linear(x))))`; the linear map needs no bias because the normalisation's beta is one."""

    def __init__(
        self,
        linear: nnx.Linear | Conv,
        features: int,
        *,
        pool: bool = False,
        **options: Unpack[Options],
    ):
        self.linear = linear
        self.norm = normalisation(features, **options)
        self.activation = options.get("activation", RELU)
        self.pool = pool

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.norm.activated(self.linear(x), self.activation, pool=self.pool)


def dense(inputs: int, features: int, **options: Unpack[Options]) -> Block:
    """Block of a fully connected layer: `[n, inputs]` to `[n, features]`."""
    linear = nnx.Linear(inputs, features, use_bias=False, kernel_init=xavier, rngs=options["rngs"])
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
    linear = plain_convolution(inputs, features, size=size, stride=stride, bias=bias, rngs=options["rngs"])
    return Block(linear, features, pool=pool, **options)


def classifier(inputs: int, classes: int, *, rngs: nnx.Rngs) -> nnx.Linear:
    """The last layer: logits with a bias."""
    return nnx.Linear(inputs, classes, kernel_init=xavier, rngs=rngs)
