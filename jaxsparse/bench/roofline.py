"""What the devices can do at most: products of matrices, and values to and from memory, a second.

A training can't take less than its operations over the one rate, nor less than its traffic over the other (Williams et
al., "Roofline", 2009). All devices are measured at once, as they share memory, power and cache.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

SECONDS = 0.5
"""Of one measurement, about."""


@dataclass(frozen=True)
class Roofline:
    """Of so many devices together."""

    operations: float
    """a second, in products of square matrices; a multiplication and an addition are two"""
    bytes: float
    """a second, read or written, in y <- a x + y on arrays that fit no cache"""


def _best(call: Callable[[], jax.Array]) -> float:
    """Seconds of the fastest call."""
    call().block_until_ready()  # compiled
    spent: list[float] = []
    begun = time.perf_counter()
    while not spent or time.perf_counter() - begun < SECONDS:
        started = time.perf_counter()
        call().block_until_ready()
        spent.append(time.perf_counter() - started)
    return min(spent)


def roofline(devices: int, precision: str = "float32") -> Roofline:
    """Measures the first so many devices, in this precision."""
    large = jax.default_backend() != "cpu"
    side, values = (8192, 2**28) if large else (1024, 2**24)  # of a matrix; of an array on a device
    mesh = jax.make_mesh((devices,), ("device",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices])
    split = NamedSharding(mesh, PartitionSpec("device"))

    def each(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
        spec = PartitionSpec("device")
        return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=spec, out_specs=spec))

    matrices = jax.device_put(jnp.ones((devices, side, side), precision), split)
    product = each(lambda a: jnp.matmul(a, a, preferred_element_type=a.dtype))
    matmul = 2.0 * devices * side**3 / _best(lambda: product(matrices))
    x, y = (jax.device_put(jnp.ones((devices, values), precision), split) for _ in range(2))
    axpy = each(lambda x, y: 0.5 * x + y)
    return Roofline(matmul, 3.0 * x.nbytes / _best(lambda: axpy(x, y)))
