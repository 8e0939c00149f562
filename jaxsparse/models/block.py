"""The block every network here repeats: a linear map, batch normalisation, ReLU, and where asked a 2x2 max-pool."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn.initializers import variance_scaling

from jaxsparse.layers import BatchNorm, Conv


def xavier(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32, **sharding: Any) -> jax.Array:
    """Xavier initialisation with the ReLU gain sqrt(2): variance 2 * 2 / (fan_in + fan_out) (Mehta et al. 2019, section
    2.1; that the distribution is the uniform one is not stated there). A kernel without entries is allowed: a layer
    may have died whole."""
    if 0 in shape:
        return jnp.zeros(shape, dtype)
    return variance_scaling(2.0, "fan_avg", "uniform")(key, shape, dtype, **sharding)


class Block(nnx.Module):
    """`pool(relu(norm(linear(x))))`; the linear map has no bias because the normalisation's beta is one."""

    def __init__(self, linear: nnx.Linear | Conv, features: int, *, pool: bool = False, rngs: nnx.Rngs):
        self.linear = linear
        self.norm = BatchNorm(features, rngs=rngs)
        self.pool = pool

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.norm.rectified(self.linear(x), pool=self.pool)


def dense(inputs: int, features: int, *, rngs: nnx.Rngs) -> Block:
    """Block of a fully connected layer: `[n, inputs]` to `[n, features]`."""
    return Block(nnx.Linear(inputs, features, use_bias=False, kernel_init=xavier, rngs=rngs), features, rngs=rngs)


def convolution(inputs: int, features: int, *, size: int = 3, pool: bool = False, rngs: nnx.Rngs) -> Block:
    """Block of a `size` x `size` convolution, stride 1, zero padding: `[n, h, w, inputs]` to `[n, h, w, features]`,
    or half of h and w with `pool`."""
    conv = Conv(inputs, features, kernel_size=(size, size), use_bias=False, kernel_init=xavier, rngs=rngs)
    return Block(conv, features, pool=pool, rngs=rngs)


def classifier(inputs: int, classes: int, *, rngs: nnx.Rngs) -> nnx.Linear:
    """The last layer: logits with a bias."""
    return nnx.Linear(inputs, classes, kernel_init=xavier, rngs=rngs)
