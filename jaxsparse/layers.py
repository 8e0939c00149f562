"""Convolution, batch normalisation and max-pooling, written so that they are fast on a CPU too.

Accelerators run `jax.lax` convolutions and their standard gradients well, and there `convolution` is just that. On a
CPU four things are worth knowing.

**Layout.** XLA:CPU has a fast kernel for one layout only: images [N, H, W, C], kernel [KH, KW, C, D], result
[N, H, W, D], in HLO's letters `b01f_01io->b01f`. A pass rewrites other layouts to this one, but in the entry
computation alone (openxla/xla, `xla/service/cpu/conv_canonicalization.cc`; jax issue 12868). The standard gradient
has other layouts, and inside `jax.lax.scan` it falls back to a naive loop, 35 to 80 times slower. The gradients here
are convolutions in the fast layout, with the transposes outside.

**Fewer multiplications.** A 3x3 convolution with stride 1 is what these networks spend their time in. Winograd's
algorithm along the columns needs 6 products where the plain sum needs 12, for the result, for the gradient of its
input, and for the gradient of the kernel alike; along the rows it stays a plain convolution. (In two dimensions it
saves more products but moves more memory, and loses digits; one dimension is faster here.)

**Memory.** What does not fit into the cache costs more than arithmetic, so such work goes by chunks of images, and
`BatchNorm.rectified` does normalisation, ReLU and pooling with one closed-form gradient that keeps nothing but the
convolution's output and recomputes the rest.

**Windows.** Max-pooling as the maximum of four strided slices beats a window reduction and its scatter gradient.

Shapes are written as suffixes: N images, H rows, W columns, C channels in, D channels out; KH and KW kernel size.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

# ------------------------------------------------------------------------------------------------------ convolution

LAYOUT = ("NHWC", "HWIO", "NHWC")
"""The one layout that XLA:CPU is fast in."""


class Geometry(NamedTuple):
    """Where the windows of a convolution lie; each pair is (rows, columns)."""

    strides: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    dilation: tuple[int, int]


def convolution(
    inputs: jax.Array,
    kernel: jax.Array,
    window_strides: Sequence[int] = (1, 1),
    padding: str | Sequence[tuple[int, int]] = "SAME",
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: Any = None,
    out_sharding: Any = None,
) -> jax.Array:
    """`jax.lax.conv_general_dilated` for images, with a gradient that is fast on a CPU.

    out[n, h, w, d] = sum over i, j, c of inputs[n, h + i, w + j, c] * kernel[i, j, c, d]   (padded; strides 1)

    Its arguments are those of `lax.conv_general_dilated`, so it serves as `nnx.Conv(conv_general_dilated=convolution)`.
    What it has no recipe for (other layouts, grouped and transposed convolutions) is passed on to `lax`.

    Args:
      inputs: [N, H, W, C].
      kernel: [KH, KW, C, D].

    Returns:
      [N, H', W', D].
    """
    layout = lax.conv_dimension_numbers(inputs.shape, kernel.shape, dimension_numbers or LAYOUT)
    if (
        inputs.ndim != 4
        or layout != lax.conv_dimension_numbers(inputs.shape, kernel.shape, LAYOUT)
        or math.prod(lhs_dilation or (1,)) != 1
        or feature_group_count != 1
        or preferred_element_type is not None
        or out_sharding is not None
    ):
        return lax.conv_general_dilated(
            inputs,
            kernel,
            window_strides,
            padding,
            lhs_dilation,
            rhs_dilation,
            layout,
            feature_group_count,
            precision=precision,
            preferred_element_type=preferred_element_type,
            out_sharding=out_sharding,
        )
    dilation = tuple(rhs_dilation or (1, 1))
    if isinstance(padding, str):
        extent = [(size - 1) * step + 1 for size, step in zip(kernel.shape, dilation, strict=False)]
        padding = lax.padtype_to_pads(inputs.shape[1:3], extent, window_strides, padding)
    geometry = Geometry(tuple(window_strides), tuple(tuple(pair) for pair in padding), dilation)  # pyright: ignore
    return _convolution(geometry, precision, *_vary_alike(inputs, kernel))


def _vary_alike(*arrays: jax.Array) -> list[jax.Array]:
    """Under `jax.shard_map`: make each vary over every mesh axis that one of them varies over.

    Hand-written gradients vary like all that goes into them. An array that is the same on all devices (shared images,
    say) needs the sum over the devices; adding a zero that varies leaves this to JAX. Elsewhere it does nothing.
    """
    zeros = [jnp.zeros_like(array, shape=()) for array in arrays]
    return [functools.reduce(lambda x, zero: x + zero.astype(x.dtype), zeros, array) for array in arrays]


def _direct(geometry: Geometry, precision: lax.PrecisionLike, x_NHWC: jax.Array, k_KKCD: jax.Array) -> jax.Array:
    """The convolution as XLA knows it."""
    strides, padding, dilation = geometry
    return lax.conv_general_dilated(
        x_NHWC, k_KKCD, strides, padding, rhs_dilation=dilation, dimension_numbers=LAYOUT, precision=precision
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _convolution(geometry: Geometry, precision: lax.PrecisionLike, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(_on_cpu, geometry, precision),
        default=functools.partial(_direct, geometry, precision),
    )


def _convolution_forward(
    geometry: Geometry, precision: lax.PrecisionLike, x: jax.Array, kernel: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _convolution(geometry, precision, x, kernel), (x, kernel)


def _convolution_backward(
    geometry: Geometry, precision: lax.PrecisionLike, kept: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Two separate choices of platform, so that the compiler drops either gradient if nobody needs it."""
    direct = functools.partial(_direct, geometry, precision)
    dx = lax.platform_dependent(
        *kept,
        g,
        cpu=functools.partial(_input_gradient, geometry, precision),
        default=lambda x, kernel, g: jax.vjp(lambda x: direct(x, kernel), x)[1](g)[0],
    )
    dkernel = lax.platform_dependent(
        *kept,
        g,
        cpu=functools.partial(_kernel_gradient, geometry, precision),
        default=lambda x, kernel, g: jax.vjp(lambda kernel: direct(x, kernel), kernel)[1](g)[0],
    )
    return dx, dkernel


_convolution.defvjp(_convolution_forward, _convolution_backward)


def _on_cpu(geometry: Geometry, precision: lax.PrecisionLike, x_NHWC: jax.Array, k_KKCD: jax.Array) -> jax.Array:
    """The convolution by the fastest of three recipes."""
    if _winograd_applies(geometry, x_NHWC, k_KKCD) and x_NHWC.shape[2] > TILE:
        return _map_chunks(lambda x: _winograd(precision, x, k_KKCD), x_NHWC)
    if k_KKCD.shape[2] <= FEW_CHANNELS:
        return _map_chunks(lambda x: _patch_product(geometry, precision, x, k_KKCD), x_NHWC)
    return _direct(geometry, precision, x_NHWC, k_KKCD)


def _input_gradient(
    geometry: Geometry, precision: lax.PrecisionLike, x_NHWC: jax.Array, k_KKCD: jax.Array, g_NHWD: jax.Array
) -> jax.Array:
    """Convolution of g with the kernel turned by 180 degrees and its channels swapped; strides become holes in g."""
    strides, padding, dilation = geometry
    turned_KKDC = lax.transpose(lax.rev(k_KKCD, (0, 1)), (0, 1, 3, 2))
    around = []
    for axis in (0, 1):
        extent = (k_KKCD.shape[axis] - 1) * dilation[axis] + 1
        before = extent - 1 - padding[axis][0]
        spread = (g_NHWD.shape[1 + axis] - 1) * strides[axis] + 1
        around.append((before, x_NHWC.shape[1 + axis] - spread - before + extent - 1))
    if strides == (1, 1):
        return _on_cpu(Geometry(strides, (around[0], around[1]), dilation), precision, g_NHWD, turned_KKDC)
    return lax.conv_general_dilated(
        g_NHWD, turned_KKDC, (1, 1), around, strides, dilation, dimension_numbers=LAYOUT, precision=precision
    )


def _kernel_gradient(
    geometry: Geometry, precision: lax.PrecisionLike, x_NHWC: jax.Array, k_KKCD: jax.Array, g_NHWD: jax.Array
) -> jax.Array:
    """dkernel[i, j, c, d] = sum over n, h, w of x[n, h + i, w + j, c] * g[n, h, w, d], by the faster of two recipes."""
    if _winograd_applies(geometry, x_NHWC, k_KKCD):
        recipe = functools.partial(_winograd_kernel_gradient, precision)
        return _sum_chunks(recipe, x_NHWC, g_NHWD, jnp.zeros_like(k_KKCD))
    return _direct_kernel_gradient(geometry, precision, x_NHWC, k_KKCD, g_NHWD)


def _direct_kernel_gradient(
    geometry: Geometry, precision: lax.PrecisionLike, x_NHWC: jax.Array, k_KKCD: jax.Array, g_NHWD: jax.Array
) -> jax.Array:
    """A convolution too: of x with g as the kernel, images and channels swapped, strides and dilation swapped."""
    strides, padding, dilation = geometry
    around = []
    for axis in (0, 1):
        extent = (g_NHWD.shape[1 + axis] - 1) * strides[axis] + 1
        size = extent + (k_KKCD.shape[axis] - 1) * dilation[axis]
        before = padding[axis][0]
        around.append((before, size - x_NHWC.shape[1 + axis] - before))
    dk_CKKD = lax.conv_general_dilated(
        x_NHWC.transpose(3, 1, 2, 0),
        g_NHWD.transpose(1, 2, 0, 3),
        dilation,
        around,
        rhs_dilation=strides,
        dimension_numbers=LAYOUT,
        precision=precision,
    )
    return dk_CKKD.transpose(1, 2, 0, 3)


# Chunks of images.

CHUNK_PIXELS = 2048
"""Pixels to work on at a time: what is made from them fits into a core's cache. A factor of 2 either way is even."""


def _chunk(images: jax.Array) -> int:
    """Images to a chunk: the divisor of their number that comes closest to `CHUNK_PIXELS`."""
    N, H, W, _ = images.shape
    divisors = [n for n in range(1, N + 1) if N % n == 0]
    return min(divisors, key=lambda n: abs(math.log(n * H * W / CHUNK_PIXELS)))


def _map_chunks(function: Callable[[jax.Array], jax.Array], images: jax.Array) -> jax.Array:
    """function(images), chunk by chunk."""
    chunks = images.reshape(-1, _chunk(images), *images.shape[1:])
    return lax.collapse(lax.map(function, chunks), 0, 2)


def _sum_chunks(
    function: Callable[[jax.Array, jax.Array], jax.Array], x_NHWC: jax.Array, g_NHWD: jax.Array, start: jax.Array
) -> jax.Array:
    """start + function(x, g), chunk by chunk."""
    chunk = _chunk(x_NHWC)
    chunks = tuple(images.reshape(-1, chunk, *images.shape[1:]) for images in (x_NHWC, g_NHWD))
    return lax.scan(lambda total, pair: (total + function(*pair), None), start, chunks)[0]


# Few input channels: one row of a matrix holds all that a window sees, and the rest is a matrix product.

FEW_CHANNELS = 4


def _patches(geometry: Geometry, x_NHWC: jax.Array, height: int, width: int, KH: int, KW: int) -> jax.Array:
    """[N * height * width, KH * KW * C], columns first and then rows, which copies longer pieces."""
    (down, right), padding, (below, beside) = geometry
    zero = jnp.zeros((), x_NHWC.dtype)
    x = lax.optimization_barrier(lax.pad(x_NHWC, zero, ((0, 0, 0), (*padding[0], 0), (*padding[1], 0), (0, 0, 0))))

    def shifted(x: jax.Array, axis: int, size: int, stride: int, count: int, step: int) -> jax.Array:
        pieces = [lax.slice_in_dim(x, i * step, i * step + (size - 1) * stride + 1, stride, axis) for i in range(count)]
        return jnp.concatenate(pieces, axis=-1)

    x = lax.optimization_barrier(shifted(x, 2, width, right, KW, beside))
    return lax.collapse(shifted(x, 1, height, down, KH, below), 0, 3)


def _output_size(geometry: Geometry, x_NHWC: jax.Array, k_KKCD: jax.Array) -> tuple[int, int]:
    height, width = (
        (x_NHWC.shape[1 + axis] + sum(pads) - (k_KKCD.shape[axis] - 1) * step - 1) // stride + 1
        for axis, (stride, pads, step) in enumerate(zip(*geometry, strict=True))
    )
    return height, width


def _patch_product(geometry: Geometry, precision: lax.PrecisionLike, x_NHWC: jax.Array, k_KKCD: jax.Array) -> jax.Array:
    KH, KW, _, D = k_KKCD.shape
    height, width = _output_size(geometry, x_NHWC, k_KKCD)
    patches = _patches(geometry, x_NHWC, height, width, KH, KW)
    return lax.dot(patches, k_KKCD.reshape(-1, D), precision=precision).reshape(-1, height, width, D)


# Winograd's algorithm along the columns: Lavin and Gray, "Fast algorithms for convolutional neural networks", 2016
# (arXiv:1509.09308), F(4, 3). Four neighbouring results y of a kernel k of three weights are, for six inputs x,
#     y = FROM_PRODUCTS @ ((FROM_KERNEL @ k) * (FROM_INPUT @ x)).
# Each of the six products is a product of numbers there; here it is a convolution over rows and channels.

TILE = 4
FROM_INPUT = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
FROM_KERNEL = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
FROM_PRODUCTS = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)


def _winograd_applies(geometry: Geometry, x_NHWC: jax.Array, k_KKCD: jax.Array) -> bool:
    """3x3, stride 1, same size, whole tiles; not in half precision, whose digits it would eat; not for few channels."""
    return (
        geometry == Geometry((1, 1), ((1, 1), (1, 1)), (1, 1))
        and k_KKCD.shape[:2] == (3, 3)
        and x_NHWC.shape[2] % TILE == 0
        and x_NHWC.dtype.itemsize >= 4
        and k_KKCD.shape[2] > FEW_CHANNELS
    )


def _combine(coefficients: Iterable[float], terms: Iterable[jax.Array]) -> jax.Array:
    """Sum of coefficient * term."""
    return functools.reduce(jnp.add, [a * x for a, x in zip(coefficients, terms, strict=True) if a])


def _input_columns(x_NHWC: jax.Array) -> list[jax.Array]:
    """The six columns [N, H, W / 4, C] that tiles of four results see: two more than they are wide."""
    N, H, W, C = x_NHWC.shape
    padded = lax.optimization_barrier(jnp.pad(x_NHWC, ((0, 0), (0, 0), (1, TILE - 1), (0, 0))))
    tiles = padded.reshape(N, H, W // TILE + 1, TILE, C)
    return [*(tiles[:, :, :-1, j] for j in range(TILE)), *(tiles[:, :, 1:, j] for j in range(2))]


def _winograd(precision: lax.PrecisionLike, x_NHWC: jax.Array, k_33CD: jax.Array) -> jax.Array:
    """Convolution with a 3x3 kernel, as six with 3x1 kernels on a quarter of the columns."""
    columns, taps = _input_columns(x_NHWC), [k_33CD[:, j] for j in range(3)]
    rows_only = Geometry((1, 1), ((1, 1), (0, 0)), (1, 1))
    products = [
        _direct(rows_only, precision, _combine(from_input, columns), _combine(from_kernel, taps)[:, None])
        for from_input, from_kernel in zip(FROM_INPUT, FROM_KERNEL, strict=True)
    ]
    y_NHT4D = jnp.stack([_combine(row, products) for row in FROM_PRODUCTS], axis=3)
    return lax.collapse(y_NHT4D, 2, 4)


def _winograd_kernel_gradient(precision: lax.PrecisionLike, x_NHWC: jax.Array, g_NHWD: jax.Array) -> jax.Array:
    """Gradient of `_winograd`: its three linear maps transposed, the six convolutions as six matrix products.

    Along the rows a product needs x[n, h + i] * g[n, h] for i in 0, 1, 2, that is three shifted copies of g.
    """
    N, H, W, C = x_NHWC.shape
    D = g_NHWD.shape[-1]
    columns = _input_columns(x_NHWC)
    padded = lax.optimization_barrier(jnp.pad(g_NHWD, ((0, 0), (1, 1), (0, 0), (0, 0))))
    tiles = padded.reshape(N, H + 2, W // TILE, TILE, D)
    results = [tiles[:, :, :, j] for j in range(TILE)]
    products = []
    for from_input, to_results in zip(FROM_INPUT, zip(*FROM_PRODUCTS, strict=True), strict=True):
        x_NHTC = _combine(from_input, columns)
        g_NHTD = lax.optimization_barrier(_combine(to_results, results))
        g_NHT3D = jnp.concatenate([g_NHTD[:, 2 - i : 2 - i + H] for i in range(3)], axis=-1)
        product = lax.dot(lax.collapse(x_NHTC, 0, 3).T, lax.collapse(g_NHT3D, 0, 3), precision=precision)
        products.append(product.reshape(C, 3, D))
    taps = [_combine(column, products) for column in zip(*FROM_KERNEL, strict=True)]
    return jnp.stack(taps, axis=2).transpose(1, 2, 0, 3)


class Conv(nnx.Conv):
    """`nnx.Conv` computed by `convolution`; same arguments, parameters and names."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, conv_general_dilated=convolution, **keywords)


# ------------------------------------------------------------------------------------------------------ max-pooling


def _corners(x_NHWC: jax.Array) -> list[jax.Array]:
    """The four pixels of every 2x2 window, in reading order; an odd last row or column is left out."""
    height, width = x_NHWC.shape[1] // 2 * 2, x_NHWC.shape[2] // 2 * 2
    return [x_NHWC[:, i:height:2, j:width:2] for i in (0, 1) for j in (0, 1)]


def _spread(corners: list[jax.Array], shape: tuple[int, ...]) -> jax.Array:
    """Inverse of `_corners`, zero in what it left out."""
    N, H, W, C = shape
    _, height, width, _ = corners[0].shape
    rows = [jnp.stack(pair, axis=3) for pair in (corners[:2], corners[2:])]
    x = jnp.stack(rows, axis=2).reshape(N, 2 * height, 2 * width, C)
    return jnp.pad(x, ((0, 0), (0, H - 2 * height), (0, W - 2 * width), (0, 0)))


def _first_maximum(corners: list[jax.Array], maximum: jax.Array) -> list[jax.Array]:
    """Which corner is the window's first maximum: four masks, exactly one of them true."""
    masks, free = [], jnp.ones(maximum.shape, bool)
    for corner in corners:
        hit = free & (corner == maximum)
        masks.append(hit)
        free &= ~hit
    return masks


@jax.custom_vjp
def max_pool(x: jax.Array) -> jax.Array:
    """Maximum over 2x2 windows, [N, H, W, C] -> [N, H // 2, W // 2, C]; an odd last row or column is left out.

    The gradient goes to the maximum; among equals to the first in reading order, as in PyTorch.
    """
    return functools.reduce(jnp.maximum, _corners(x))


def _max_pool_forward(x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    y = max_pool(x)
    return y, (x, y)


def _max_pool_backward(kept: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array]:
    x, y = kept
    return (_spread([jnp.where(mask, g, 0) for mask in _first_maximum(_corners(x), y)], x.shape),)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


# ---------------------------------------------------------------------------------------------- batch normalisation


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


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _rectified(
    epsilon: float, pool: bool, x: jax.Array, scale: jax.Array, bias: jax.Array
) -> tuple[jax.Array, Statistics]:
    return _rectified_forward(epsilon, pool, x, scale, bias)[0]


def _rectified_forward(
    epsilon: float, pool: bool, x: jax.Array, scale: jax.Array, bias: jax.Array
) -> tuple[tuple[jax.Array, Statistics], tuple[jax.Array, ...]]:
    statistics = _statistics(x)
    z = _affine(x, statistics, scale, bias, epsilon)
    y = jnp.maximum(max_pool(z) if pool else z, 0).astype(x.dtype)
    return (lax.optimization_barrier(y), statistics), (x, scale, bias, *statistics)


def _rectified_backward(
    epsilon: float, pool: bool, kept: tuple[jax.Array, ...], gradients: tuple[jax.Array, Statistics]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Ioffe and Szegedy 2015, section 3, with the mask of ReLU in it.

    With x^ = (x - mean) / deviation, g the gradient where the output is positive and 0 elsewhere, M values a channel:
    dbias = sum g,  dscale = sum g x^,  dx = scale / deviation * (g - dbias / M - x^ dscale / M).
    """
    x, scale, bias, mean, variance = kept
    g = gradients[0].astype(mean.dtype)
    axes, channels = tuple(range(x.ndim - 1)), (None,) * (x.ndim - 1)
    statistics = Statistics(mean, variance)
    inverse = lax.rsqrt(variance + epsilon)
    z = _affine(x, statistics, scale, bias, epsilon)
    if pool:
        corners = _corners(z)
        maximum = functools.reduce(jnp.maximum, corners)
        g = jnp.where(maximum > 0, g, 0)
        masks = _first_maximum(corners, maximum)
        x_chosen = sum(jnp.where(mask, corner, 0) for mask, corner in zip(masks, _corners(x), strict=True))
        g, product = lax.optimization_barrier((g, g * (x_chosen - mean[channels]) * inverse[channels]))
        dscale, dbias = product.sum(axes), g.sum(axes)
        g = _spread([jnp.where(mask, g, 0) for mask in masks], x.shape)
    else:
        g = jnp.where(z > 0, g, 0)
        dscale, dbias = (g * (x - mean[channels]) * inverse[channels]).sum(axes), g.sum(axes)
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

    Attributes:
      scale, bias: parameters [C].
      mean, var: running statistics [C], float32.

    Source: Ioffe and Szegedy, "Batch normalization", 2015 (arXiv:1502.03167).
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

    def __call__(
        self, x: jax.Array, use_running_average: bool | None = None, *, mask: jax.Array | None = None
    ) -> jax.Array:
        """Normalised x, same shape."""
        if mask is not None:
            raise ValueError("BatchNorm has no masked form")
        if self._evaluates(use_running_average):
            statistics = Statistics(self.mean[...], self.var[...])
        else:
            statistics = _statistics(x)
            self._follow(statistics, x.size // x.shape[-1])
        return _affine(x, statistics, *self._parameters(), self.epsilon).astype(self.dtype or x.dtype)

    def rectified(self, x: jax.Array, *, pool: bool = False, use_running_average: bool | None = None) -> jax.Array:
        """relu(self(x)), then `max_pool` if asked; in training with one closed-form gradient for all of it.

        Args:
          x: [N, C] or [N, H, W, C]; the latter if `pool`.

        Returns:
          Like x, with half the height and width if `pool`.
        """
        if self._evaluates(use_running_average):
            y = nnx.relu(self(x, use_running_average))
            return max_pool(y) if pool else y
        outputs: tuple[jax.Array, Statistics] = _rectified(self.epsilon, pool, *_vary_alike(x, *self._parameters()))
        y, statistics = outputs
        self._follow(statistics, x.size // x.shape[-1])
        return y.astype(self.dtype or x.dtype)

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
