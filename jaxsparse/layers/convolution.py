"""`convolution`, a `jax.lax.conv_general_dilated` whose gradient is fast on a CPU: see the package."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from jaxsparse.layers.chunks import map_chunks, sum_chunks
from jaxsparse.layers.direct import LAYOUT, Geometry, direct, direct_input_gradient, vary_alike
from jaxsparse.layers.matrices import matrix_applies, matrix_kernel_gradient, matrix_product
from jaxsparse.layers.patches import FEW_CHANNELS, patch_product
from jaxsparse.layers.products import Recipe, accelerated
from jaxsparse.layers.winograd import TILE, winograd, winograd_applies, winograd_kernel_gradient


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
    (top, bottom), (left, right) = padding
    (down, along), (below, beside) = window_strides, rhs_dilation or (1, 1)
    geometry = Geometry((down, along), ((top, bottom), (left, right)), (below, beside))
    return _convolution(geometry, precision, accelerated(), *vary_alike(inputs, kernel))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _convolution(
    geometry: Geometry, precision: lax.PrecisionLike, recipe: Recipe, x: jax.Array, kernel: jax.Array
) -> jax.Array:
    return lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(_on_cpu, geometry, precision),
        default=functools.partial(recipe.forward, geometry, precision),
    )


def _convolution_forward(
    geometry: Geometry, precision: lax.PrecisionLike, recipe: Recipe, x: jax.Array, kernel: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _convolution(geometry, precision, recipe, x, kernel), (x, kernel)


def _convolution_backward(
    geometry: Geometry,
    precision: lax.PrecisionLike,
    recipe: Recipe,
    kept: tuple[jax.Array, jax.Array],
    g: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Two separate choices of platform, so that the compiler drops either gradient if nobody needs it."""
    dx = lax.platform_dependent(
        *kept,
        g,
        cpu=functools.partial(_input_gradient, geometry, precision),
        default=functools.partial(recipe.input_gradient, geometry, precision),
    )
    dkernel = lax.platform_dependent(
        *kept,
        g,
        cpu=functools.partial(_kernel_gradient, geometry, precision),
        default=functools.partial(recipe.kernel_gradient, geometry, precision),
    )
    return dx, dkernel


_convolution.defvjp(_convolution_forward, _convolution_backward)


def _on_cpu(geometry: Geometry, precision: lax.PrecisionLike, x_NHWC: jax.Array, k_KKCD: jax.Array) -> jax.Array:
    """The convolution by the fastest recipe."""
    if matrix_applies(geometry, x_NHWC, k_KKCD):
        return matrix_product(geometry, precision, x_NHWC, k_KKCD)
    if winograd_applies(geometry, x_NHWC, k_KKCD) and x_NHWC.shape[2] > TILE:
        return map_chunks(lambda x: winograd(precision, x, k_KKCD), x_NHWC)
    if k_KKCD.shape[2] <= FEW_CHANNELS:
        return map_chunks(lambda x: patch_product(geometry, precision, x, k_KKCD), x_NHWC)
    return direct(geometry, precision, x_NHWC, k_KKCD)


def _input_gradient(
    geometry: Geometry, precision: lax.PrecisionLike, x_NHWC: jax.Array, k_KKCD: jax.Array, g_NHWD: jax.Array
) -> jax.Array:
    return direct_input_gradient(_on_cpu, geometry, precision, x_NHWC, k_KKCD, g_NHWD)


def _kernel_gradient(
    geometry: Geometry, precision: lax.PrecisionLike, x_NHWC: jax.Array, k_KKCD: jax.Array, g_NHWD: jax.Array
) -> jax.Array:
    """dkernel[i, j, c, d] = sum over n, h, w of x[n, h + i, w + j, c] * g[n, h, w, d], by the fastest recipe."""
    if matrix_applies(geometry, x_NHWC, k_KKCD):
        return matrix_kernel_gradient(geometry, precision, x_NHWC, k_KKCD, g_NHWD)
    if winograd_applies(geometry, x_NHWC, k_KKCD):
        recipe = functools.partial(winograd_kernel_gradient, precision)
        return sum_chunks(recipe, x_NHWC, g_NHWD, jnp.zeros_like(k_KKCD))
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


class Conv(nnx.Conv):
    """`nnx.Conv` computed by `convolution`; same arguments, parameters and names."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, conv_general_dilated=convolution, **keywords)
