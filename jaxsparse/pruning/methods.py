"""The methods: functions from parameters to masks. They differ in what is scored and in what is compared with what.

| method           | prunes              | the lowest               | compared       | source                         |
|------------------|---------------------|--------------------------|----------------|--------------------------------|
| `magnitude`      | weights             | magnitude                | globally       | Han et al. 2015                |
| `hybrid`         | convolution weights | magnitude                | in each filter | Batra et al. 2024, section 1.4 |
| `filters`        | units               | L1 norm of their weights | in each layer  | Li et al. 2017                 |
| `slimming`       | units               | magnitude of gamma       | globally       | Liu et al. 2017                |
| `channels`       | 2-D filter slices   | L2 norm                  | globally       | Batra et al. 2024, section 1.3 |
| `implicit`       | units               | what is dead already     |                | Mehta et al. 2019, section 2.1 |
| `random`         | weights             | a uniform random number  | globally       | the control of `magnitude`     |
| `random_filters` | units               | a uniform random number  | in each layer  | the control of `filters`       |

Where a function takes `compare`, it may be `globally`, `by_layer` or (of weights) `by_filter`. How many go, and what
happens with equal scores: see `jaxsparse.pruning.comparing`.
"""

from __future__ import annotations

from functools import reduce

import jax
import jax.numpy as jnp

from jaxsparse import criteria
from jaxsparse.checks import require
from jaxsparse.criteria import Thresholds
from jaxsparse.pruning.comparing import Comparison, Scores, Sparsity, by_filter, by_layer, globally
from jaxsparse.pruning.layers import layers_of, scaled_layers_of, units
from jaxsparse.pruning.masks import convolutions, kernels, masks_of, selected
from jaxsparse.sparsity import magnitudes
from jaxsparse.tracing import Wiring
from jaxsparse.tracing.units import WEIGHT
from jaxsparse.trees import Mask, Tree, flatten


def magnitude(params: Tree, sparsity: Sparsity, *, prunable: Mask = kernels, compare: Comparison = globally) -> Tree:
    """Prunes the weights of the smallest magnitude.

    Han et al. 2015, section 3; with one threshold for all layers, as in Batra et al. 2024, section 2.1.

    Args:
      params: of the network.
      sparsity: fraction of the prunable weights in [0, 1], or `Below(magnitude)`; by parameter with `by_layer`.
      prunable: which parameters may be pruned, as a pytree of booleans or a function from the parameters to one.
      compare: what is compared with what.

    Returns:
      Booleans like the parameters, True = kept.

    Raises:
      InvalidInput: for a fraction out of range, or where nothing is prunable.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> params = {"dense": {"kernel": jnp.array([[0.1, -2.0, 0.3], [-0.4, 0.05, 1.0]]), "bias": jnp.zeros(3)}}
      >>> masks = js.pruning.magnitude(params, 0.5)
      >>> print(masks["dense"]["kernel"])  # the three smallest of six go
      [[False  True False]
       [ True False  True]]
      >>> print(masks["dense"]["bias"])  # no kernel
      [ True  True  True]
    """
    return masks_of(params, compare({name: abs(leaf) for name, leaf in _weights(params, prunable).items()}, sparsity))


def hybrid(params: Tree, sparsity: Sparsity, *, prunable: Mask = convolutions) -> Tree:
    """Prunes the weights of the smallest magnitude in each filter, so that every filter loses the same share.

    Batra et al. 2024, section 1.4. Arguments, result and errors are those of `magnitude`; by default the dense layers
    are left alone.

    Example:
      Each column is a filter, the incoming weights of one output; by `magnitude`, the whole first one would go.

      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> kernel = jnp.array([[0.1, 5.0], [0.2, 6.0], [0.3, 7.0], [0.4, 8.0]]).reshape(2, 2, 1, 2)
      >>> masks = js.pruning.hybrid({"conv": {"kernel": kernel}}, 0.5)
      >>> print(masks["conv"]["kernel"].reshape(4, 2))
      [[False False]
       [False False]
       [ True  True]
       [ True  True]]
    """
    return magnitude(params, sparsity, prunable=prunable, compare=by_filter)


def random(
    params: Tree,
    sparsity: Sparsity,
    key: jax.Array,
    *,
    prunable: Mask = kernels,
    compare: Comparison = globally,
) -> Tree:
    """Prunes weights at random. With the same key, a higher sparsity keeps a subset; else as `magnitude`.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> params = {"dense": {"kernel": jnp.ones((10, 10)), "bias": jnp.ones(10)}}
      >>> masks, more = (js.pruning.random(params, sparsity, jax.random.key(0)) for sparsity in (0.5, 0.9))
      >>> int(masks["dense"]["kernel"].sum()), int(more["dense"]["kernel"].sum())
      (50, 10)
      >>> bool((more["dense"]["kernel"] <= masks["dense"]["kernel"]).all())  # a subset
      True
    """
    leaves = _weights(params, prunable)
    shapes = {name: leaf.shape for name, leaf in leaves.items()}
    return masks_of(params, compare(_uniform(shapes, key), sparsity))


def filters(
    params: Tree,
    sparsity: Sparsity,
    *,
    prunable: Mask = convolutions,
    compare: Comparison = by_layer,
    wiring: Wiring | None = None,
) -> Tree:
    """Prunes whole units by the L1 norm of their incoming weights.

    Li et al. 2017, section 3.1: in each layer the same or a given share. With `compare=globally`, the norms of all
    layers are compared (Batra et al. 2024, section 1.4).

    Args:
      params: of the network.
      sparsity: fraction of the units in [0, 1], or `Below(norm)`; with `by_layer` also by layer (`convolutions/0`).
      prunable: kernels of the layers whose units may be pruned.
      compare: what is compared with what.
      wiring: of the network, `js.wiring(model, x)`, which says which parameters belong to a unit; without, names tell.

    Returns:
      Booleans like the parameters, True = kept. With a unit go its bias, and gamma and beta behind it.

    Raises:
      InvalidInput: for a fraction out of range, or where nothing is prunable.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> kernel = jnp.broadcast_to(jnp.array([4.0, 1.0, 3.0, 2.0]), (3, 3, 1, 4))  # four filters
      >>> masks = js.pruning.filters({"conv": {"kernel": kernel, "bias": jnp.zeros(4)}}, 0.5)
      >>> print(masks["conv"]["bias"], masks["conv"]["kernel"][0, 0, 0])
      [ True False  True False] [ True False  True False]
    """
    leaves = flatten(params)
    scores: Scores = {
        layer.name: reduce(jnp.add, (part.sum(abs(leaves[part.name]), layer.size) for part in layer.of_role(WEIGHT)))
        for layer in layers_of(params, prunable, wiring)
    }
    return _without_units(params, compare(scores, sparsity), wiring)


def random_filters(
    params: Tree,
    sparsity: Sparsity,
    key: jax.Array,
    *,
    prunable: Mask = convolutions,
    compare: Comparison = by_layer,
    wiring: Wiring | None = None,
) -> Tree:
    """Prunes whole units at random. With the same key, a higher sparsity keeps a subset; else as `filters`.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> params = {"conv": {"kernel": jnp.ones((3, 3, 1, 4)), "bias": jnp.zeros(4)}}
      >>> masks = js.pruning.random_filters(params, 0.25, jax.random.key(0))
      >>> int(masks["conv"]["bias"].sum()), int(masks["conv"]["kernel"].sum())  # one of four whole filters goes
      (3, 27)
    """
    shapes = {layer.name: (layer.size,) for layer in layers_of(params, prunable, wiring)}
    return _without_units(params, compare(_uniform(shapes, key), sparsity), wiring)


def slimming(
    params: Tree,
    sparsity: Sparsity,
    *,
    prunable: Mask = convolutions,
    compare: Comparison = globally,
    wiring: Wiring | None = None,
) -> Tree:
    """Prunes whole units by |gamma| of the normalisation behind them, with one threshold for the whole network.

    Liu et al. 2017, section 3 (network slimming; train with `js.BatchNormL1`). Layers without a normalisation are left
    alone; of a normalisation before its layer, gamma and beta go. Where there is none, `channels` takes over. A high
    sparsity may take whole layers.

    Arguments, result and errors are those of `filters`, with `Below(|gamma|)`.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> conv = {"linear": {"kernel": jnp.ones((3, 3, 1, 4))}, "norm": {"scale": jnp.array([0.9, 0.01, -0.5, 0.02])}}
      >>> masks = js.pruning.slimming({"first": conv}, 0.5)
      >>> print(masks["first"]["norm"]["scale"], masks["first"]["linear"]["kernel"][0, 0, 0])
      [ True False  True False] [ True False  True False]
    """
    found = magnitudes(scaled_layers_of(params, prunable, wiring), params, {})
    scores = {name: abs(layer.gamma) for name, layer in found.items() if layer.gamma is not None}
    if not scores:
        return channels(params, sparsity, prunable=prunable, compare=compare)
    return _without_units(params, compare(scores, sparsity), wiring)


def channels(
    params: Tree, sparsity: Sparsity, *, prunable: Mask = convolutions, compare: Comparison = globally
) -> Tree:
    """Prunes what a filter reads from one input channel, `kernel[:, :, input, output]`, by its L2 norm.

    Batra et al. 2024, section 1.3: network slimming for networks without normalisation; their network of 12 filters has
    36 such channels.

    Arguments, result and errors are those of `magnitude`, with a fraction of the channels or `Below(norm)`.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> kernel = jnp.broadcast_to(jnp.array([[1.0, 4.0], [3.0, 2.0]]), (3, 3, 2, 2))  # [.., inputs, outputs]
      >>> masks = js.pruning.channels({"conv": {"kernel": kernel}}, 0.5)
      >>> print(masks["conv"]["kernel"].all((0, 1)))  # by input and output
      [[False  True]
       [ True False]]
    """
    scores = {
        name: jnp.sqrt(jnp.sum(leaf**2, axis=tuple(range(leaf.ndim - 2))))
        for name, leaf in _weights(params, prunable).items()
    }
    return masks_of(params, compare(scores, sparsity))


def implicit(
    params: Tree,
    thresholds: Thresholds | None = None,
    *,
    prunable: Mask = kernels,
    wiring: Wiring | None = None,
) -> Tree:
    """Prunes the units that training has left dead: those with |gamma| below `thresholds.scale`, and in layers without
    a normalisation those whose incoming weights have an L2 norm below `thresholds.norm`.

    Mehta et al. 2019, section 2.1. For units that are dead by activation: `units(params,
    js.measure(..).dead["activation"])`.

    Raises:
      InvalidInput: where nothing is prunable.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> first = {"linear": {"kernel": jnp.ones((5, 3))}, "norm": {"scale": jnp.array([1.0, 1e-5, 0.7])}}
      >>> masks = js.pruning.implicit({"first": first})
      >>> print(masks["first"]["norm"]["scale"], masks["first"]["linear"]["kernel"][0])
      [ True False  True] [ True False  True]
    """
    found = [*layers_of(params, prunable, wiring), *scaled_layers_of(params, prunable, wiring)]
    dead: dict[str, jax.Array] = {}
    for name, layer in magnitudes(found, params, {}).items():
        masks = layer.dead(thresholds or Thresholds())
        decided = criteria.primary(masks)
        dead[name] = jnp.zeros(len(layer), bool) if decided is None else decided
    return units(params, dead, wiring)


def _weights(params: Tree, prunable: Mask) -> dict[str, jax.Array]:
    found = selected(params, prunable)
    require(bool(found), "prunable", "none", "at least one parameter of the network")
    return found


def _without_units(params: Tree, kept: Scores, wiring: Wiring | None) -> Tree:
    return units(params, {name: ~mask for name, mask in kept.items()}, wiring)


def _uniform(shapes: dict[str, tuple[int, ...]], key: jax.Array) -> Scores:
    """Random scores, by name."""
    keys = jax.random.split(key, len(shapes))
    return {name: jax.random.uniform(each, shape) for each, (name, shape) in zip(keys, shapes.items(), strict=True)}
