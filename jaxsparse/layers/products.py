"""Convolutions as matrix products on accelerators, for many networks that train as one.

`jax.vmap` over kernels makes a convolution a grouped one, for which the libraries of accelerators have slow programs
only (jax issues 26568, 13800); of a matrix product it makes a batched product, which is fast. The patches cost memory
traffic, so one network alone is better off with the convolution. Whoever packs networks chooses, when the program is
traced: see `convolutions_as_products`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, TypeAlias

import jax
from jax import lax

from jaxsparse.layers.direct import Geometry, direct, direct_input_gradient
from jaxsparse.layers.patches import patch_kernel_gradient, patch_product

Forward: TypeAlias = Callable[[Geometry, lax.PrecisionLike, jax.Array, jax.Array], jax.Array]
Backward: TypeAlias = Callable[[Geometry, lax.PrecisionLike, jax.Array, jax.Array, jax.Array], jax.Array]


class Recipe(NamedTuple):
    """How a convolution and its two gradients are computed, each from geometry, precision, images, kernel (and the
    gradient of the result)."""

    forward: Forward
    input_gradient: Backward
    kernel_gradient: Backward


def _library_input(
    geometry: Geometry, precision: lax.PrecisionLike, x: jax.Array, kernel: jax.Array, g: jax.Array
) -> jax.Array:
    return jax.vjp(lambda x: direct(geometry, precision, x, kernel), x)[1](g)[0]


def _library_kernel(
    geometry: Geometry, precision: lax.PrecisionLike, x: jax.Array, kernel: jax.Array, g: jax.Array
) -> jax.Array:
    return jax.vjp(lambda kernel: direct(geometry, precision, x, kernel), kernel)[1](g)[0]


def _product_input(
    geometry: Geometry, precision: lax.PrecisionLike, x: jax.Array, kernel: jax.Array, g: jax.Array
) -> jax.Array:
    return direct_input_gradient(patch_product, geometry, precision, x, kernel, g)


LIBRARY = Recipe(direct, _library_input, _library_kernel)
"""The accelerator's own convolutions."""
PRODUCTS = Recipe(patch_product, _product_input, patch_kernel_gradient)
"""Patches and a product each."""

_chosen: ContextVar[Recipe] = ContextVar("convolutions on accelerators", default=LIBRARY)


@contextmanager
def convolutions_as_products() -> Iterator[None]:
    """Programs that are traced inside have `PRODUCTS` for convolutions on accelerators; on a CPU nothing changes."""
    token = _chosen.set(PRODUCTS)
    try:
        yield
    finally:
        _chosen.reset(token)


def accelerated() -> Recipe:
    """What convolutions that are traced now are to be on accelerators."""
    return _chosen.get()
