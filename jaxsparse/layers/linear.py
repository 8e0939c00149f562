"""`product`, a matrix product whose gradient is fast on a CPU where there are few outputs: see the package."""

from __future__ import annotations

import functools
from typing import Any

import jax
from flax import nnx
from jax import lax

from jaxsparse.layers.direct import vary_alike

ROWS_BY_COLUMNS = (((1,), (0,)), ((), ()))
COLUMNS_BY_COLUMNS = (((0,), (0,)), ((), ()))
ROWS_BY_ROWS = (((1,), (1,)), ((), ()))
"""Which axes of two matrices are summed over."""


def product(
    inputs: jax.Array,
    kernel: jax.Array,
    dimension_numbers: Any = ROWS_BY_COLUMNS,
    precision: lax.PrecisionLike = None,
    preferred_element_type: Any = None,
    out_sharding: Any = None,
) -> jax.Array:
    """`jax.lax.dot_general` of matrices, with a gradient that is fast on a CPU.

    out[n, d] = sum over c of inputs[n, c] * kernel[c, d]

    Its arguments are those of `lax.dot_general`, so it serves as `nnx.Linear(dot_general=product)`. Other products are
    passed on to `lax`.

    Args:
      inputs: [N, C].
      kernel: [C, D].

    Returns:
      [N, D].
    """
    matrices = inputs.ndim == 2 and tuple(map(tuple, dimension_numbers[0])) == ROWS_BY_COLUMNS[0]
    if not matrices or preferred_element_type is not None or out_sharding is not None:
        return lax.dot_general(
            inputs, kernel, dimension_numbers, precision, preferred_element_type, out_sharding=out_sharding
        )
    return _product(precision, *vary_alike(inputs, kernel))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _product(precision: lax.PrecisionLike, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.dot_general(x, kernel, ROWS_BY_COLUMNS, precision)


def _product_forward(
    precision: lax.PrecisionLike, x: jax.Array, kernel: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _product(precision, x, kernel), (x, kernel)


def _product_backward(
    precision: lax.PrecisionLike, kept: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    plain = functools.partial(lax.dot_general, dimension_numbers=COLUMNS_BY_COLUMNS, precision=precision)
    dx = lax.dot_general(g, kernel, ROWS_BY_ROWS, precision)
    if kernel.shape[1] < kernel.shape[0]:
        return dx, lax.platform_dependent(x, g, cpu=lambda x, g: lax.optimization_barrier(plain(g, x)).T, default=plain)
    return dx, plain(x, g)


_product.defvjp(_product_forward, _product_backward)


class Linear(nnx.Linear):
    """`nnx.Linear` computed by `product`; same arguments, parameters and names."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, dot_general=product, **keywords)
