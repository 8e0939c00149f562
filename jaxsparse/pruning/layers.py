"""Whole units: which parameters belong to one, and the way from dead units to masks and back.

A unit is an output of a dense layer or a channel of a convolution. Its own parameters are its incoming weights and
bias, and gamma and beta of the normalisation behind it; without them it puts out exactly what its activation function
makes of zero. `jaxsparse.shrink` removes such units, with all that they feed into later layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxsparse.checks import require, require_choice
from jaxsparse.pruning.masks import masks_of, selected
from jaxsparse.sparsity import places
from jaxsparse.tracing import Layer, Wiring, named, names_of
from jaxsparse.tracing.units import SCALE, WEIGHT
from jaxsparse.trees import Mask, Tree, flatten


def layers(params: Tree, wiring: Wiring | None = None) -> Sequence[Layer]:
    """The layers of parameters: those of a computation, or as their names tell them (`jaxsparse.tracing.named`)."""
    return named.layers(params) if wiring is None else wiring.layers


def layers_of(params: Tree, prunable: Mask, wiring: Wiring | None = None) -> list[Layer]:
    """The layers whose weights are prunable.

    Raises:
      InvalidInput: where there is none.
    """
    chosen = selected(params, prunable)
    found = [layer for layer in layers(params, wiring) if any(part.name in chosen for part in layer.of_role(WEIGHT))]
    require(bool(found), "prunable", sorted(chosen), "the kernel of at least one layer of the network")
    return found


def scaled_layers_of(params: Tree, prunable: Mask, wiring: Wiring | None = None) -> list[Layer]:
    """Of those the ones with a scale, and scales without weights of their own (of a normalisation before its layer)
    beside prunable weights."""
    chosen = selected(params, prunable)
    holders = {_holder(name) for name in chosen}
    own = [layer for layer in layers_of(params, prunable, wiring) if layer.of_role(SCALE)]
    alone = [
        layer
        for layer in layers(params, wiring)
        if not layer.of_role(WEIGHT) and all(_holder(part.name) in holders for part in layer.parts)
    ]
    return [*own, *alone]


def _holder(name: str) -> str:
    """Of the module that holds a parameter."""
    return name.rpartition("/")[0].rpartition("/")[0]


def units(params: Tree, dead: Mapping[str, Any], wiring: Wiring | None = None) -> Tree:
    """Masks without the given units.

    Args:
      params: of the network.
      dead: booleans `[units]` by layer, as in `js.measure(..).dead["activation"]`.
      wiring: of the network, `js.wiring(model, x)`; without, layers are told by names.

    Raises:
      InvalidInput: for a layer that the network lacks, or an array of the wrong shape.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> params = {"first": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}, "head": {"kernel": jnp.ones((3, 1))}}
      >>> masks = js.pruning.units(params, {"first": jnp.array([False, True, False])})
      >>> print(masks["first"]["kernel"])
      [[ True False  True]
       [ True False  True]]
      >>> print(masks["first"]["bias"], masks["head"]["kernel"].all())
      [ True False  True] True
    """
    found = layers(params, wiring)
    known, names = {layer.name: layer for layer in found}, names_of(found)
    gone: dict[str, jax.Array] = {}
    for name, mask in dead.items():
        require_choice("layer in dead", name, tuple(names))
        layer = known[names[name]]
        require(
            np.shape(mask) == (layer.size,), f"dead[{name!r}]", np.shape(mask), f"booleans of shape ({layer.size},)"
        )
        for parameter, chosen in places(layer.parts, mask).items():
            gone[parameter] = gone[parameter] | chosen if parameter in gone else chosen
    return masks_of(params, {name: ~chosen for name, chosen in gone.items()})


def dead_units(masks: Tree, wiring: Wiring | None = None) -> dict[str, np.ndarray]:
    """The units of which masks keep nothing, as booleans `[units]` by layer: the `dead` of `js.shrink`.

    Layers that lose none are left out.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> kernel = jnp.broadcast_to(jnp.array([4.0, 1.0, 3.0, 2.0]), (3, 3, 1, 4))
      >>> masks = js.pruning.filters({"conv": {"kernel": kernel}}, 0.5)
      >>> js.pruning.dead_units(masks)
      {'conv': array([False,  True, False,  True])}
    """
    leaves = flatten(masks)
    found: dict[str, np.ndarray] = {}
    for layer in layers(masks, wiring):
        kept = np.zeros(layer.size, bool)
        for part in layer.parts:
            kept |= np.asarray(part.sum(np.asarray(leaves[part.name]).astype(np.int32), layer.size)) > 0
        if not kept.all():
            found[layer.name] = ~kept
    return found


def emptied(masks: Tree, wiring: Wiring | None = None) -> list[str]:
    """The layers of whose kernels masks keep nothing, so that no signal goes through.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> params = {"first": {"kernel": jnp.full((2, 2), 0.1)}, "second": {"kernel": jnp.full((2, 2), 1.0)}}
      >>> js.pruning.emptied(js.pruning.magnitude(params, 0.5))
      ['first']
    """
    leaves = flatten(masks)
    return [
        layer.name
        for layer in layers(masks, wiring)
        if (weights := layer.of_role(WEIGHT)) and not any(np.asarray(leaves[part.name]).any() for part in weights)
    ]
