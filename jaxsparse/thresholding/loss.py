"""The share of the weights that is left, as a loss of trainable bounds.

    shares = {"first/kernel": 0.25, "second/kernel": 0.75}      # of the parameters, or of the multiplications
    penalty = strength * squared(density(bounds, shares), budget=0.15)

Equation 8 of Retsinas et al. 2020 is `1 - 1/N sum c_i s_i` with weights c_i that sum to one already (equation 9). Taken
literally it can't fall below `1 - 1/N` and no budget of equation 10 could be met, so the 1/N is absorbed here: the
shares c_i sum to one, and with c_i = 1/N equation 8 becomes equation 6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxsparse.shrinking.costs import macs
from jaxsparse.thresholding.bounds import gaussian_share
from jaxsparse.trees import flatten


def density(bounds: Mapping[str, jax.Array], shares: Mapping[str, float]) -> jax.Array:
    """Share of the weights that is left, as if they were Gaussian: `L = 1 - sum_i c_i erf(b_i / sqrt(2))`, in [0, 1].

    Retsinas et al. 2020, equations 6 and 8 (see the module); equation 19 is its gradient for one layer, `dL / db =
    -2 exp(-b^2 / 2) / sqrt(2 pi)`, divided by sigma where b is absolute.

    Args:
      bounds: scalars by name of the kernel, relative to its standard deviation.
      shares: c_i >= 0 by the same names, which sum to one.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> bounds = {"first/kernel": jnp.array(0.0), "second/kernel": jnp.array(1.0)}  # of the second, 68 % are zero
      >>> round(float(js.thresholding.density(bounds, {"first/kernel": 0.25, "second/kernel": 0.75})), 3)
      0.488
    """
    return 1 - jnp.sum(jnp.stack([share * gaussian_share(bounds[name]) for name, share in shares.items()]))


def unconstrained(density: jax.Array, budget: jax.Array | float) -> jax.Array:
    """The density itself (equation 7); the budget is ignored.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> [round(float(js.thresholding.unconstrained(jnp.array(left), budget=0.15)), 4) for left in (0.25, 0.15, 0.05)]
      [0.25, 0.15, 0.05]
    """
    del budget
    return density


def squared(density: jax.Array, budget: jax.Array | float) -> jax.Array:
    """`(density - budget)^2` (equation 10), least where the density is the budget.

    Args:
      budget: share to be left, in (0, 1]: 0.15 for a sparsity of 85 %.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> [round(float(js.thresholding.squared(jnp.array(left), budget=0.15)), 4) for left in (0.25, 0.15, 0.05)]
      [0.01, 0.0, 0.01]
    """
    return (density - budget) ** 2


def excess(density: jax.Array, budget: jax.Array | float) -> jax.Array:
    """`max(density - budget, 0)` (equation 11), least wherever the density is within the budget.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> [round(float(js.thresholding.excess(jnp.array(left), budget=0.15)), 4) for left in (0.25, 0.15, 0.05)]
      [0.1, 0.0, 0.0]
    """
    return jnp.maximum(density - budget, 0)


def _equal(sizes: Mapping[str, int], macs: Callable[[], Mapping[str, int]]) -> Mapping[str, float]:
    del macs
    return dict.fromkeys(sizes, 1.0)


def _by_size(sizes: Mapping[str, int], macs: Callable[[], Mapping[str, int]]) -> Mapping[str, float]:
    del macs
    return sizes


def _by_macs(sizes: Mapping[str, int], macs: Callable[[], Mapping[str, int]]) -> Mapping[str, float]:
    found = macs()
    return {name: found[name.rpartition("/")[0]] for name in sizes}


_WEIGHTINGS: Mapping[str, Callable[[Mapping[str, int], Callable[[], Mapping[str, int]]], Mapping[str, float]]] = {
    "average": _equal,
    "parameters": _by_size,
    "flops": _by_macs,
}
SHARES: tuple[str, ...] = tuple(_WEIGHTINGS)
"""What a layer's share can be: the same for all (equation 6, the paper's `avg`), its share of the parameters (equation
9, `wavg`), or of the multiplications for one input."""


def shares(name: str, model: nnx.Module, example: Any, kernels: tuple[str, ...]) -> dict[str, float]:
    """Shares c_i of the given kernels of a model, which sum to one.

    Args:
      name: one of `SHARES`.
      model: with arrays or their shapes.
      example: an input with batch axis, or its shape; looked at for `flops` only.
      kernels: their names.

    Example:
      A 5x5 convolution to 4 channels, at 8x8 places, has nearly all multiplications:

      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> from flax import nnx
      >>> model = js.models.BasicNet(10, shape=(8, 8, 1), widths=(4,), head=(), rngs=nnx.Rngs(0))
      >>> kernels = ("convolutions/0/linear/kernel", "head/kernel")
      >>> for name in js.thresholding.SHARES:
      ...     found = js.thresholding.shares(name, model, jnp.ones((1, 8, 8, 1)), kernels)
      ...     print(name, [round(share, 3) for share in found.values()])
      average [0.5, 0.5]
      parameters [0.714, 0.286]
      flops [0.994, 0.006]
    """
    params = flatten(nnx.as_pure(nnx.state(model, nnx.Param)))
    weights = _WEIGHTINGS[name]({kernel: params[kernel].size for kernel in kernels}, lambda: macs(model, example))
    total = sum(weights.values())
    return {kernel: weight / total for kernel, weight in weights.items()}
