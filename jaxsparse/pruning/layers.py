"""Whole units: which parameters belong to one, and the way from dead units to masks and back.

A unit is an output of a dense layer or a channel of a convolution. Its own parameters are its incoming weights and
bias, and gamma and beta of the normalisation behind it; without them it puts out exactly what its activation function
makes of zero. `jaxsparse.shrink` removes such units, with all that they feed into later layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsparse.config import require, require_choice
from jaxsparse.pruning.masks import masks_of, selected
from jaxsparse.trees import Mask, Tree, flatten

_PARAMETERS = ("kernel", "bias", "scale")
"""Names of what a module may have for its units; the `bias` beside a `scale` is a shift."""


@dataclass(frozen=True)
class Layer:
    """Names of a layer and of its parameters, of which it has some."""

    name: str
    """as in `js.measure` and `js.shrink`"""
    kernel: str | None
    scale: str | None
    parameters: tuple[str, ...]
    """all there are: kernel and bias, scale and shift; their last axis is that of the units"""


def layers(params: Tree) -> list[Layer]:
    """The layers of parameters, told apart and named as `jaxsparse.sparsity.layers` does with modules: what holds just
    one kernel and just one scale is one layer, elsewhere each is a layer of its own."""
    names = flatten(params)

    def modules(parameter: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in names:
            module, _, last = name.rpartition("/")
            if last == parameter:
                found.setdefault(module.rpartition("/")[0], []).append(module)
        return found

    def layer(name: str, kernel: str | None, scale: str | None) -> Layer:
        own = [f"{module}/{last}" for module in (kernel, scale) if module is not None for last in _PARAMETERS]
        return Layer(
            name,
            None if kernel is None else f"{kernel}/kernel",
            None if scale is None else f"{scale}/scale",
            tuple(parameter for parameter in own if parameter in names),
        )

    kernels, scales = modules("kernel"), modules("scale")
    found: list[Layer] = []
    for parent in dict.fromkeys((*kernels, *scales)):
        linear, norms = kernels.get(parent, []), scales.get(parent, [])
        if len(linear) == len(norms) == 1:
            found.append(layer(parent or norms[0], linear[0], norms[0]))
        else:
            found += [layer(module, module, None) for module in linear]
            found += [layer(module, None, module) for module in norms]
    return found


def layers_of(params: Tree, prunable: Mask) -> list[Layer]:
    """The layers whose kernels are prunable.

    Raises:
      InvalidInput: where there is none.
    """
    chosen = selected(params, prunable)
    found = [layer for layer in layers(params) if layer.kernel in chosen]
    require(bool(found), "prunable", sorted(chosen), "the kernel of at least one layer of the network")
    return found


def units(params: Tree, dead: Mapping[str, Any]) -> Tree:
    """Masks without the given units.

    Args:
      params: of the network.
      dead: booleans `[units]` by layer, as in `js.measure(..).dead["activation"]`.

    Raises:
      InvalidInput: for a layer that the network lacks, or an array of the wrong shape.
    """
    known = {layer.name: layer for layer in layers(params)}
    shapes = {name: leaf.shape for name, leaf in flatten(params).items()}
    kept: dict[str, jax.Array] = {}
    for name, mask in dead.items():
        require_choice("layer in dead", name, tuple(known))
        for parameter in known[name].parameters:
            count = shapes[parameter][-1]
            require(np.shape(mask) == (count,), f"dead[{name!r}]", np.shape(mask), f"booleans of shape ({count},)")
            kept[parameter] = ~jnp.asarray(mask, bool)
    return masks_of(params, kept)


def dead_units(masks: Tree) -> dict[str, np.ndarray]:
    """The units of which masks keep nothing, as booleans `[units]` by layer: the `dead` of `js.shrink`.

    Layers that lose none are left out.
    """
    leaves = flatten(masks)
    found: dict[str, np.ndarray] = {}
    for layer in layers(masks):
        own = [np.asarray(leaves[name]) for name in layer.parameters]
        dead = np.all([~mask.any(tuple(range(mask.ndim - 1))) for mask in own], axis=0)
        if dead.any():
            found[layer.name] = dead
    return found


def emptied(masks: Tree) -> list[str]:
    """The layers of whose kernels masks keep nothing, so that no signal goes through."""
    leaves = flatten(masks)
    return [
        layer.name for layer in layers(masks) if layer.kernel is not None and not np.asarray(leaves[layer.kernel]).any()
    ]
