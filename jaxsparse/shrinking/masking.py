"""The network that a shrunk one must equal: dead units put out a constant, by plain numbers in the same arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsparse import criteria, sparsity
from jaxsparse.checks import require, require_choice
from jaxsparse.criteria import Thresholds
from jaxsparse.tracing import Layer, names_of
from jaxsparse.tracing.units import BIAS, SHIFT
from jaxsparse.trees import flatten

Dead = Mapping[str, Any]
"""Layer name (as in `sparsity.measure`) to booleans `[units]`."""


def layers_of(model: nnx.Module, example: Any = None) -> Sequence[Layer]:
    """The layers of a model: read off what it computes for an example; without one, as names tell them."""
    return sparsity.layers(model) if example is None else sparsity.wiring(model, example).layers


def dead_by_scale(model: nnx.Module, tolerance: float, example: Any = None) -> dict[str, jax.Array]:
    """Units with |gamma| below the tolerance; in layers without a normalisation those whose incoming weights have an
    L2 norm below it. What the model puts out is not counted.

    Args:
      tolerance: >= 0, of |gamma| and of the norm alike.
      example: what the model takes, or its shapes; without, the layers are told by names.

    Returns:
      Booleans `[units]` by layer.

    Raises:
      InvalidInput: for a tolerance that is not finite or < 0.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> from flax import nnx
      >>> model = js.models.MLP(2, shape=(3,), widths=(4,), rngs=nnx.Rngs(0))
      >>> model.hidden[0].norm.scale[...] = jnp.array([1.0, 0.1, 0.01, 0.001])
      >>> print(js.shrinking.dead_by_scale(model, 0.05)["hidden/0"])
      [False False  True  True]
    """
    hidden = [layer for layer in layers_of(model, example) if not layer.output]
    seen = sparsity.magnitudes(hidden, nnx.state(model, nnx.Param), {})
    found = {name: layer.dead(Thresholds(scale=tolerance, norm=tolerance)) for name, layer in seen.items()}
    decided = {name: criteria.primary(masks) for name, masks in found.items()}
    return {name: jnp.zeros(0, bool) if dead is None else dead for name, dead in decided.items()}


def by_layer(layers: Sequence[Layer], given: Mapping[str, Any], what: str, kind: str) -> dict[str, np.ndarray]:
    """What is given for units, by the names of layers; a layer may go by any of its names, and by several at once.

    Raises:
      InvalidInput: for another name, or an array of another shape.
    """
    names, sizes = names_of(layers), {layer.name: layer.size for layer in layers}
    found: dict[str, np.ndarray] = {}
    for name, values in given.items():
        require_choice(f"layer in {what}", name, tuple(names))
        own, values = names[name], np.asarray(values)
        size = sizes[own]
        require(values.shape == (size,), f"{what}[{name!r}]", values.shape, f"{kind} of shape ({size},)")
        found[own] = found[own] | values if own in found and values.dtype == bool else values
    return found


def masked(
    model: nnx.Module, dead: Dead, constants: Mapping[str, Any] | None = None, layers: Sequence[Layer] | None = None
) -> nnx.Module:
    """A copy of the model whose dead units ignore their input.

    A dead unit's gamma is zero; without a normalisation, its incoming weights are. Its beta (bias) is kept, so that the
    layer puts out beta in its place, and the activation function makes the unit's constant of it. With `constants` it
    puts out those instead. (`sparsity.silence` differs: it zeroes beta too.)

    For a unit that is dead by activation - relu(gamma * x^ + beta) = 0 on all data, with gamma and beta of any size -
    the constant is one that the activation function takes to zero: `constants={layer: np.zeros(units)}` for ReLU.

    Args:
      model: left as it is.
      dead: booleans `[units]` by layer.
      constants: what a layer puts out, before its activation function, where a unit is dead; `[units]` by layer.
      layers: of the model; those that names tell where not given.

    Raises:
      InvalidInput: for a layer that the model lacks, an array of another shape, or a constant where the layer has
        neither beta nor bias to hold it.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> from flax import nnx
      >>> model = js.models.MLP(2, shape=(3,), widths=(4,), initial_beta=0.5, rngs=nnx.Rngs(0))
      >>> dead = {"hidden/0": jnp.array([False, True, False, False])}
      >>> norm = js.shrinking.masked(model, dead).hidden[0].norm
      >>> print(norm.scale[...], norm.bias[...])
      [1. 0. 1. 1.] [0.5 0.5 0.5 0.5]
      >>> print(js.shrinking.masked(model, dead, constants={"hidden/0": jnp.zeros(4)}).hidden[0].norm.bias[...])
      [0.5 0.  0.5 0.5]
    """
    layers = layers_of(model) if layers is None else layers
    masks = by_layer(layers, dead, "dead", "booleans")
    values = by_layer(layers, constants or {}, "constants", "numbers")
    for name in values:
        require_choice("layer in constants", name, tuple(masks))
    graph, state = nnx.split(model)
    arrays = flatten(state)
    for layer in layers:
        if layer.name not in masks:
            continue
        mask = masks[layer.name].astype(bool)
        for name, chosen in sparsity.places(layer.masked, mask).items():
            arrays[name] = jnp.where(chosen, jnp.zeros((), arrays[name].dtype), arrays[name])
        if layer.name not in values:
            continue
        constant = values[layer.name]
        holders = layer.of_role(SHIFT) or layer.of_role(BIAS)
        named = f"constants[{layer.name!r}]"
        require(bool(holders) or not constant[mask].any(), named, constant, "0: the layer has no bias")
        for place, part in enumerate(holders):  # one of several holds it all
            put = np.where(part.owner >= 0, constant[np.maximum(part.owner, 0)], 0) if place == 0 else 0.0
            array = arrays[part.name]
            arrays[part.name] = jnp.where(part.where(mask), put, array).astype(array.dtype)
    leaves = [arrays[name] for name in flatten(state)]
    return nnx.merge(graph, jax.tree.unflatten(jax.tree.structure(state), leaves), copy=True)
