"""Batch normalisation, alone and with what follows it: for rectifiers and max-pooling with one closed-form gradient."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from jaxsparse.layers.activations import Activation, Rectifier
from jaxsparse.layers.direct import vary_alike
from jaxsparse.layers.pooling import first_maximum, max_pool, spread_corners, window_corners

RELU = Rectifier()


class Statistics(NamedTuple):
    """Per channel, in float32 at least."""

    mean: jax.Array
    variance: jax.Array


def _statistics(x: jax.Array) -> Statistics:
    """Mean and biased variance over everything but the channels."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axes)
    return Statistics(mean, jnp.square(x - mean[(None,) * len(axes)]).mean(axes))


def _affine(x: jax.Array, statistics: Statistics, scale: jax.Array, bias: jax.Array, epsilon: float) -> jax.Array:
    """(x - mean) / deviation * scale + bias."""
    channels = (None,) * (x.ndim - 1)
    factor = lax.rsqrt(statistics.variance + epsilon) * scale
    return (x - statistics.mean[channels]) * factor[channels] + bias[channels]


def _rectify(x: jax.Array, slope: float, y: jax.Array) -> jax.Array:
    """y where x is positive, slope * y elsewhere."""
    return jnp.where(x > 0, y, slope * y if slope else 0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _rectified(
    epsilon: float, slope: float, pool: bool, x: jax.Array, scale: jax.Array, bias: jax.Array
) -> tuple[jax.Array, Statistics]:
    return _rectified_forward(epsilon, slope, pool, x, scale, bias)[0]


def _rectified_forward(
    epsilon: float, slope: float, pool: bool, x: jax.Array, scale: jax.Array, bias: jax.Array
) -> tuple[tuple[jax.Array, Statistics], tuple[jax.Array, ...]]:
    """A rectifier never falls, so the maximum is taken first, which leaves it a quarter to do."""
    statistics = _statistics(x)
    z = _affine(x, statistics, scale, bias, epsilon)
    z = max_pool(z) if pool else z
    y = jnp.maximum(z, slope * z if slope else 0).astype(x.dtype)
    return (lax.optimization_barrier(y), statistics), (x, scale, bias, *statistics)


def _rectified_backward(
    epsilon: float, slope: float, pool: bool, kept: tuple[jax.Array, ...], gradients: tuple[jax.Array, Statistics]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Ioffe and Szegedy 2015, section 3, with the derivative of the rectifier in it.

    With x^ = (x - mean) / deviation, g the gradient where the output is positive and slope times it elsewhere, M values
    a channel: dbias = sum g,  dscale = sum g x^,  dx = scale / deviation * (g - dbias / M - x^ dscale / M).
    """
    x, scale, bias, mean, variance = kept
    g = gradients[0].astype(mean.dtype)
    axes, channels = tuple(range(x.ndim - 1)), (None,) * (x.ndim - 1)
    statistics = Statistics(mean, variance)
    inverse = lax.rsqrt(variance + epsilon)
    z = _affine(x, statistics, scale, bias, epsilon)
    if pool:
        corners = window_corners(z)
        maximum = functools.reduce(jnp.maximum, corners)
        g = _rectify(maximum, slope, g)
        masks = first_maximum(corners, maximum)
        x_chosen = sum(jnp.where(mask, corner, 0) for mask, corner in zip(masks, window_corners(x), strict=True))
        g, product = lax.optimization_barrier((g, g * (x_chosen - mean[channels])))
        dscale, dbias = product.sum(axes) * inverse, g.sum(axes)
        g = spread_corners([jnp.where(mask, g, 0) for mask in masks], x.shape)
    else:
        g = _rectify(z, slope, g)
        dscale, dbias = (g * (x - mean[channels])).sum(axes) * inverse, g.sum(axes)
    count = x.size // x.shape[-1]
    normalised = (x - mean[channels]) * inverse[channels]
    dx = (scale * inverse)[channels] * (g - (dbias / count)[channels] - normalised * (dscale / count)[channels])
    return lax.optimization_barrier(dx.astype(x.dtype)), dscale.astype(scale.dtype), dbias.astype(bias.dtype)


_rectified.defvjp(_rectified_forward, _rectified_backward)


class BatchNorm(nnx.BatchNorm):
    """Batch normalisation over all axes but the last, for [N, C] and [N, H, W, C].

    y = scale * (x - mean) / sqrt(variance + epsilon) + bias

    In training mean and (biased) variance are the batch's, and the running ones follow:
    running <- momentum * running + (1 - momentum) * batch. In evaluation the running ones are used.

    Defaults are PyTorch's. Its momentum counts the other way round (0.1 there is 0.9 here), and its running variance
    is the unbiased one, n / (n - 1) times the batch's for n values a channel; flax keeps the biased one.

    The result has the type of x (so bfloat16 stays bfloat16), or `dtype`; statistics are float32 at least.

    In training, the batch may be normalised in several equal `parts`, each with its own statistics; the running ones
    follow their mean. With as many parts as devices split a batch, they need not communicate here.

    Attributes:
      scale, bias: parameters [C].
      mean, var: running statistics [C], float32.

    Source: Ioffe and Szegedy, "Batch normalization", 2015 (arXiv:1502.03167); in parts: Hoffer et al., "Train longer,
    generalize better", 2017 (arXiv:1705.08741), section 4.
    """

    def __init__(
        self,
        num_features: int,
        *,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        unbiased: bool = True,
        use_running_average: bool = False,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        use_bias: bool = True,
        use_scale: bool = True,
        parts: int = 1,
        bias_init: nnx.Initializer = nnx.initializers.zeros,
        scale_init: nnx.Initializer = nnx.initializers.ones,
        rngs: nnx.Rngs,
    ) -> None:
        super().__init__(
            num_features,
            momentum=momentum,
            epsilon=epsilon,
            use_running_average=use_running_average,
            dtype=dtype,
            param_dtype=param_dtype,
            use_bias=use_bias,
            use_scale=use_scale,
            bias_init=bias_init,
            scale_init=scale_init,
            use_fast_variance=False,
            rngs=rngs,
        )
        self.unbiased = unbiased
        self.parts = parts

    def __call__(
        self, x: jax.Array, use_running_average: bool | None = None, *, mask: jax.Array | None = None
    ) -> jax.Array:
        """Normalised x, same shape."""
        if mask is not None:
            raise ValueError("BatchNorm has no masked form")
        if self._evaluates(use_running_average):
            y = _affine(x, Statistics(self.mean[...], self.var[...]), *self._parameters(), self.epsilon)
            return y.astype(self.dtype or x.dtype)
        parameters = self._parameters()

        def normalised(x: jax.Array) -> tuple[jax.Array, Statistics]:
            statistics = _statistics(x)
            return _affine(x, statistics, *parameters, self.epsilon), statistics

        return self._in_parts(normalised, x).astype(self.dtype or x.dtype)

    def activated(
        self,
        x: jax.Array,
        activation: Activation = RELU,
        *,
        pool: bool = False,
        use_running_average: bool | None = None,
    ) -> jax.Array:
        """activation(self(x)), then `max_pool` if asked; with a rectifier, in training one closed-form gradient for
        all of it.

        Args:
          x: [N, C] or [N, H, W, C]; the latter if `pool`.
          activation: of each number on its own.

        Returns:
          Like x, with half the height and width if `pool`.
        """
        if self._evaluates(use_running_average) or not isinstance(activation, Rectifier):
            y = activation(self(x, use_running_average))
            return max_pool(y) if pool else y
        x, *parameters = vary_alike(x, *self._parameters())
        rectified = functools.partial(_rectified, self.epsilon, activation.slope, pool)
        return self._in_parts(lambda x: rectified(x, *parameters), x).astype(self.dtype or x.dtype)

    def _in_parts(self, function: Callable[[jax.Array], tuple[jax.Array, Statistics]], x: jax.Array) -> jax.Array:
        """What the function makes of the batch, part by part; the running statistics follow those of the parts."""
        count = x.size // self.parts // x.shape[-1]
        if self.parts == 1:
            y, statistics = function(x)
        else:
            y, statistics = jax.vmap(function)(x.reshape(self.parts, -1, *x.shape[1:]))
            y, statistics = lax.collapse(y, 0, 2), jax.tree.map(lambda a: a.mean(0), statistics)
        self._follow(statistics, count)
        return y

    def _evaluates(self, use_running_average: bool | None) -> bool:
        return bool(self.use_running_average if use_running_average is None else use_running_average)

    def _parameters(self) -> tuple[jax.Array, jax.Array]:
        scale = jnp.ones(self.num_features) if self.scale is None else self.scale[...]
        bias = jnp.zeros(self.num_features) if self.bias is None else self.bias[...]
        return scale, bias

    def _follow(self, batch: Statistics, count: int) -> None:
        """Move the running statistics towards the batch's."""
        mean, variance = lax.stop_gradient(batch.mean), lax.stop_gradient(batch.variance)
        if self.unbiased:
            variance *= count / max(count - 1, 1)
        for running, new in ((self.mean, mean), (self.var, variance)):
            running[...] = (self.momentum * running[...] + (1 - self.momentum) * new).astype(running[...].dtype)
