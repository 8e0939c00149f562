"""Which units of a network are dead, by three criteria (Mehta et al. 2019, section 2.1; Yaguchi et al. 2018, II-B).

A *unit* is a channel that a product with weights puts out, with the normalisation that scales it and the activation
function behind it: see `jaxsparse.tracing.units`. It is dead

- by *scale* where |gamma| of its normalisation is below a threshold,
- by *activation* where its largest |activation|, the value that the next layer reads, over the whole training set,
  every position of every image, does not exceed a threshold, with running statistics,
- by *norm* where the L2 norm of its incoming weights is below a threshold.

`observe` gives the magnitudes themselves, so that thresholds can be chosen, and changed, afterwards.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial, reduce
from html import escape
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.tree_util import Partial

from jaxsparse import criteria, tracing
from jaxsparse.checks import require
from jaxsparse.criteria import Thresholds
from jaxsparse.data import Dataset, Seen, Split, Stream, examples, preprocess, seen_in
from jaxsparse.losses import Loss, evaluate
from jaxsparse.tracing import Layer, Part, Wiring, arrays_of, function_of, named, names_of
from jaxsparse.tracing.units import SCALE, SHIFT, WEIGHT
from jaxsparse.trees import Tree, flatten


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Units:
    """Magnitudes of a layer's units, `[units]` each; `None` where the layer has no such parameter."""

    gamma: jax.Array | None
    """scale of the normalisation"""
    beta: jax.Array | None
    """shift of the normalisation"""
    activation: jax.Array | None
    """largest |activation| over the data"""
    norm: jax.Array | None
    """L2 norm of the incoming weights"""
    rate: jax.Array | None = None
    """activation rate: share of all positions of all images, in [0, 1], where the activation is not 0 (Yaguchi et al.
    2018, section V-A)"""

    def __len__(self) -> int:
        """Number of units."""
        return next(a.shape[-1] for a in (self.gamma, self.activation, self.norm) if a is not None)

    def dead(self, thresholds: Thresholds) -> dict[str, jax.Array]:
        """Booleans `[units]` by criterion, for the criteria that the layer has."""
        judged = {by.name: by.dead(self, at) for by, at in criteria.thresholds_of(thresholds).items()}
        return {name: dead for name, dead in judged.items() if dead is not None}


Named = TypeVar("Named")


class ByLayer(dict[str, Named]):
    """A dict by name of a layer, which finds a layer by its other names too (that of its normalisation)."""

    def __init__(self, entries: Any = (), aliases: Mapping[str, str] = MappingProxyType({})):
        super().__init__(entries)
        self.aliases = aliases

    def __missing__(self, name: str) -> Named:
        other = self.aliases.get(name, name)
        if other not in self:
            raise KeyError(name)
        return self[other]


def layers(model: nnx.Module, only: str = "") -> list[Layer]:
    """The layers of a model below the path `only`, as the names of its parameters tell them: without an input there is
    no computation to read."""
    return named.layers(nnx.state(model, nnx.Param), only)


def wiring(model: nnx.Module | Callable[[Any, Any], Any], x: Any, params: Tree = None) -> Wiring:
    """The layers of a model and their units, read off its computation for an input `x` (or its shapes).

    Args:
      model: a `flax.nnx` model, or a function `f(params, x)` with its `params`.
      x: an input with a leading batch axis, or its shapes; only these are looked at.

    Returns:
      The `layers`, each with its name, size and parts (parameters), and those that are `hidden`: all but the output.

    Raises:
      InvalidInput: for what is neither a model nor a function with its params.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> from flax import nnx
      >>> wiring = js.wiring(js.models.MLP(2, shape=(3,), widths=(5, 4), rngs=nnx.Rngs(0)), jnp.ones((1, 3)))
      >>> for layer in wiring.hidden:
      ...     print(layer.name, layer.size, [part.name for part in layer.parts])
      hidden/0 5 ['hidden/0/linear/kernel', 'hidden/0/norm/scale', 'hidden/0/norm/bias']
      hidden/1 4 ['hidden/1/linear/kernel', 'hidden/1/norm/scale', 'hidden/1/norm/bias']
    """
    function, params, trainable = _function(model, params)
    return tracing.wiring(function, params, x, trainable)


def _function(model: Any, params: Tree) -> tuple[Callable[[Any, Any], Any], Tree, tuple[str, ...]]:
    """A function, its parameters, and the names of those that are weights, biases, scales and shifts.

    Raises:
      InvalidInput: for what is neither a model nor a function with its params.
    """
    if params is None:
        require(isinstance(model, nnx.Module), "model", type(model).__name__, MODELS)
        function, state = function_of(model)
        return function, state, tuple(flatten(nnx.state(model, nnx.Param)))
    require(callable(model), "model", type(model).__name__, MODELS)
    floating = (
        n for n, leaf in flatten(params).items() if _is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating)
    )
    return model, params, tuple(floating)


def outputs(model: nnx.Module, x: Any, only: str = "") -> dict[str, list[jax.Array]]:
    """The activations of each layer over a batch `x`, what the next layer reads: a `[n, .., units]` for each call."""
    return wiring(model, x).activations(nnx.state(model), x, only)


def activations(model: nnx.Module, x: Any, only: str = "") -> dict[str, jax.Array]:
    """Largest |activation| per unit and layer over a batch `x`, with the model in evaluation mode."""
    return {name: _largest(calls) for name, calls in outputs(model, x, only).items() if calls}


def _largest(calls: list[jax.Array]) -> jax.Array:
    """Of each unit over the images and positions of all calls, `[units]`."""
    return jnp.stack([abs(activation).max(tuple(range(activation.ndim - 1))) for activation in calls]).max(0)


def _nonzero(calls: list[jax.Array], real: jax.Array) -> jax.Array:
    """Of each unit the share of the positions where it is not zero, summed over the images that are real, `[units]`."""

    def counted(activation: jax.Array) -> jax.Array:
        share = (activation != 0).mean(tuple(range(1, activation.ndim - 1)), dtype=jnp.float32)
        return jnp.where(real[:, None], share, 0).sum(0)

    return jnp.stack([counted(activation) for activation in calls]).mean(0)


def magnitudes(found: Sequence[Layer], params: Tree, largest: Mapping[str, jax.Array]) -> dict[str, Units]:
    """Magnitudes of the units of layers, given the largest activations (empty: not looked at); in order of the layers,
    which a plain dict loses on its way through a compiled function."""
    arrays = flatten(params)

    def most(layer: Layer, role: str) -> jax.Array | None:
        """Of several, that of the largest magnitude."""
        each = [part.of_units(arrays[part.name], layer.size) for part in layer.of_role(role)]
        return reduce(lambda a, b: jnp.where(abs(b) > abs(a), b, a), each) if each else None

    def norm(layer: Layer) -> jax.Array | None:
        each = [part.norm(arrays[part.name], layer.size) for part in layer.of_role(WEIGHT)]
        return None if not each else each[0] if len(each) == 1 else jnp.sqrt(sum(one**2 for one in each))

    return OrderedDict(
        (layer.name, Units(most(layer, SCALE), most(layer, SHIFT), largest.get(layer.name), norm(layer)))
        for layer in found
    )


def units(model: nnx.Module, largest: Mapping[str, jax.Array], only: str = "") -> dict[str, Units]:
    """Magnitudes of the units of the layers that names tell, given the largest activations (empty: not looked at)."""
    return magnitudes(layers(model, only), nnx.state(model, nnx.Param), largest)


def zeroed(tree: Tree, parts: Mapping[str, Any]) -> Tree:
    """A tree of parameters with zeros at these places, booleans by name."""
    leaves = [
        jnp.where(parts[name], jnp.zeros((), leaf.dtype), leaf) if name in parts else leaf
        for name, leaf in flatten(tree).items()
    ]
    return jax.tree.unflatten(jax.tree.structure(tree), leaves)


def places(parts: Iterable[Part], dead: Any) -> dict[str, Any]:
    """Booleans by name of a parameter: the elements of the dead units `[units]`."""
    found: dict[str, Any] = {}
    for part in parts:
        chosen = part.where(dead)
        found[part.name] = found[part.name] | chosen if part.name in found else chosen
    return found


def silence(model: nnx.Module, dead: Mapping[str, jax.Array], found: Sequence[Layer] | None = None) -> nnx.Module:
    """A copy of the model whose dead units put out exactly what their activation function makes of zero: their gamma
    and beta (without a normalisation, their incoming weights and bias) are zero.

    Args:
      dead: booleans `[units]` by layer, as in `js.measure(..).dead["scale"]`; other layers are left as they are.
      found: the layers; those that names tell where not given.

    Raises:
      InvalidInput: for a layer that the model lacks.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> from flax import nnx
      >>> model = js.models.MLP(2, shape=(3,), widths=(4,), initial_beta=0.5, rngs=nnx.Rngs(0))
      >>> silent = js.sparsity.silence(model, {"hidden/0": jnp.array([False, True, False, True])})
      >>> print(silent.hidden[0].norm.scale[...], silent.hidden[0].norm.bias[...])
      [1. 0. 1. 0.] [0.5 0.  0.5 0. ]
    """
    found = layers(model) if found is None else found
    names, parts = names_of(found), dict[str, Any]()
    for name in dead:
        require(name in names, "dead", name, f"by layers of the model: {' '.join(layer.name for layer in found)}")
    for layer in found:
        for name in dead:
            if names.get(name) == layer.name:
                for parameter, chosen in places(layer.silenced, dead[name]).items():
                    parts[parameter] = parts.get(parameter, False) | chosen
    graph, state = nnx.split(model)
    return nnx.merge(graph, zeroed(state, parts), copy=True)


@lru_cache(maxsize=64)
def _looking(only: str) -> Callable[..., Seen]:
    """One function for the same settings, so that it is compiled once."""

    def look(graph: nnx.GraphDef, state: Any, data: Dataset | Stream, batch: Split, real: jax.Array) -> Seen:
        found = outputs(nnx.merge(graph, state, copy=True), preprocess(data, batch.images), only)
        return Seen(
            sums={name: _nonzero(calls, real) for name, calls in found.items()},
            largest={name: _largest(calls) for name, calls in found.items()},
        )

    return look


def wiring_for(model: nnx.Module, data: Dataset | Stream) -> Wiring:
    """The layers of a model, for the images of a data set."""
    x = jax.eval_shape(lambda: preprocess(data, examples(data.train, 1)))
    return wiring(model, x)


def observe(model: nnx.Module, data: Dataset | Stream, only: str = "") -> dict[str, Units]:
    """Magnitudes of each layer's units, activations taken over the whole training set in one pass; traceable where that
    is on the device."""
    seen = seen_in(data.train, Partial(_looking(only), *nnx.split(model), data))
    chosen = [layer for layer in wiring_for(model, data).hidden if layer.below(only)]
    found = magnitudes(chosen, nnx.state(model, nnx.Param), seen.largest).items()
    return OrderedDict((name, replace(layer, rate=seen.sums[name] / len(data.train))) for name, layer in found)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Observation:
    """What is measured during training."""

    units: dict[str, Units]
    test_error_silenced: jax.Array
    """percent, with the units that are dead by scale (without a scale: by norm) zeroed explicitly"""
    test_error_top5_silenced: jax.Array


def observation(
    thresholds: Thresholds, only: str, loss: Loss | None = None
) -> Callable[[nnx.Module, Dataset | Stream], Observation]:
    """The measure for `make_train`: magnitudes of the layers below `only`, and the error without the dead units."""

    def measure(model: nnx.Module, data: Dataset | Stream) -> Observation:
        seen = observe(model, data, only)
        dead = {name: layer.dead(thresholds) for name, layer in seen.items()}
        decided = {name: criteria.primary(found) for name, found in dead.items()}
        chosen = {name: found for name, found in decided.items() if found is not None}
        silent = silence(model, chosen, wiring_for(model, data).layers)
        _, error, error_top5 = evaluate(silent, data, data.test, loss)
        return Observation(seen, error, error_top5)

    return measure


@dataclass(frozen=True, repr=False)
class Sparsity:
    """Which units are dead: `dead[criterion][layer]` is a boolean `[units]`. Prints as a table.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> params = {"hidden": {"w": jnp.array([[1.0, 0.0, 2.0, -1.0]])}, "out": {"w": jnp.ones((4, 1))}}
      >>> network = lambda p, x: jnp.maximum(x @ p["hidden"]["w"], 0) @ p["out"]["w"]
      >>> found = js.measure(network, jnp.ones((5, 1)), params=params)
      >>> found.counts()  # without a normalisation, no unit can be dead by scale
      {'hidden': {'units': 4, 'scale': None, 'activation': 2, 'norm': 1}}
      >>> found.percent("activation"), found.dead["norm"]["hidden"]
      (50.0, array([False,  True, False, False]))
    """

    units: dict[str, Units]
    dead: Mapping[str, dict[str, np.ndarray]]

    def percent(self, criterion: str) -> float:
        """Percent of all units that are dead by a criterion (`"scale"`, `"activation"`, `"norm"` or one's own); nan
        where no layer has what it looks at."""
        found = self.dead[criterion]
        return 100.0 * float(np.mean(np.concatenate(list(found.values())))) if found else float("nan")

    @property
    def primary(self) -> dict[str, np.ndarray]:
        """Booleans `[units]` by layer: dead by scale, in layers without a scale by norm."""
        by_layer = {name: {by: masks[name] for by, masks in self.dead.items() if name in masks} for name in self.units}
        decided = {name: criteria.primary(found) for name, found in by_layer.items()}
        return {name: found for name, found in decided.items() if found is not None}

    def alive(self, criterion: str) -> dict[str, np.ndarray]:
        """Booleans `[units]` by layer: the units that are not dead by a criterion."""
        return {name: ~mask for name, mask in self.dead[criterion].items()}

    def counts(self) -> dict[str, dict[str, int | None]]:
        """Units of each layer, and how many are dead by each criterion (none where it lacks what that looks at)."""

        def by(criterion: str, name: str) -> int | None:
            mask = self.dead[criterion].get(name)
            return None if mask is None else int(mask.sum())

        return {
            name: {"units": len(layer), **{criterion: by(criterion, name) for criterion in self.dead}}
            for name, layer in self.units.items()
        }

    def _rows(self) -> list[list[str]]:
        rows = [["layer", "units", *self.dead]]
        for name, counts in self.counts().items():
            rows.append([name, *("-" if count is None else str(count) for count in counts.values())])
        return [*rows, ["dead", "", *(f"{self.percent(criterion):.1f} %" for criterion in self.dead)]]

    def __str__(self) -> str:
        width = max(map(len, self.units), default=5)
        return "\n".join(
            f"{name:{width}}  {units:>5}" + "".join(f"  {cell:>10}" for cell in cells)
            for name, units, *cells in self._rows()
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The same table, for notebooks."""
        rows = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in self._rows())
        return "<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"


def numbers(found: Sparsity) -> dict[str, float]:
    """Percent of dead units by criterion, of all and of each layer: `dead/scale`, `dead/scale/hidden/0`.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> params = {"hidden": {"w": jnp.array([[1.0, 0.0, 2.0, -1.0]])}, "out": {"w": jnp.ones((4, 1))}}
      >>> network = lambda p, x: jnp.maximum(x @ p["hidden"]["w"], 0) @ p["out"]["w"]
      >>> for name, value in js.sparsity.numbers(js.measure(network, jnp.ones((5, 1)), params=params)).items():
      ...     print(name, value)
      dead/activation 50.0
      dead/activation/hidden 50.0
      dead/norm 25.0
      dead/norm/hidden 25.0
    """
    told: dict[str, float] = {}
    for criterion in found.dead:
        if found.dead[criterion]:
            told[f"dead/{criterion}"] = found.percent(criterion)
            for layer, mask in found.dead[criterion].items():
                told[f"dead/{criterion}/{layer}"] = 100.0 * float(mask.mean())
    return told


def changes(before: Sparsity, now: Sparsity) -> dict[str, float]:
    """How many units died since the last measurement, and how many came back: `deaths/scale`, `births/scale`."""
    told: dict[str, float] = {}
    for criterion in now.dead:
        pairs = [(before.dead[criterion][name], mask) for name, mask in now.dead[criterion].items()]
        if pairs:
            told[f"deaths/{criterion}"] = float(sum((~old & new).sum() for old, new in pairs))
            told[f"births/{criterion}"] = float(sum((old & ~new).sum() for old, new in pairs))
    return told


def columns(judged: Sequence[Sparsity]) -> dict[str, list[Any]]:
    """What records keep of several measurements of the same layers, an entry for each: percent of dead units by
    criterion, names and sizes of the layers, and the magnitudes of all units, nan where a layer has no such parameter.
    """

    def magnitudes(found: Sparsity, name: str) -> np.ndarray:
        each = [(len(layer), getattr(layer, name)) for layer in found.units.values()]
        return np.concatenate([np.full(size, np.nan, np.float32) if own is None else own for size, own in each])

    names = ("gamma", "beta", "activation", "norm", "rate")
    return {
        **{f"sparsity_{by}": [found.percent(by) for found in judged] for by in judged[0].dead},
        "layers": [list(found.units) for found in judged],
        "layer_units": [[len(layer) for layer in found.units.values()] for found in judged],
        **{name: [magnitudes(found, name) for found in judged] for name in names},
    }


def judge(seen: Mapping[str, Units], thresholds: Thresholds) -> Sparsity:
    """Which of the observed units are dead."""
    aliases = seen.aliases if isinstance(seen, ByLayer) else {}
    found = {name: layer.dead(thresholds) for name, layer in seen.items()}
    dead = {
        criterion: ByLayer(
            {name: np.asarray(masks[criterion]) for name, masks in found.items() if criterion in masks}, aliases
        )
        for criterion in criteria.names_of(thresholds)
    }
    return Sparsity(ByLayer(seen, aliases), dead)


class _Active(NamedTuple):
    """What activations were so far, each of a layer's units `[units]`."""

    largest: jax.Array
    rate: jax.Array
    positions: jax.Array
    """how many the rate is the mean over"""


def _active(calls: list[jax.Array], before: _Active | None) -> _Active:
    count = sum(math.prod(activation.shape[:-1]) for activation in calls)
    each = [(activation != 0).sum(tuple(range(activation.ndim - 1)), dtype=jnp.float32) for activation in calls]
    rate, positions = sum(each, jnp.zeros(())) / count, jnp.asarray(count, jnp.float32)
    if before is None:
        return _Active(_largest(calls), rate, positions)
    total = before.positions + positions
    mean = before.rate + (rate - before.rate) * (positions / total)
    return _Active(jnp.maximum(before.largest, _largest(calls)), mean, total)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _seen(
    function: Callable[[Any, Any], Any],
    trainable: tuple[str, ...],
    only: str,
    params: Tree,
    x: Any,
    before: Mapping[str, _Active],
) -> tuple[dict[str, _Active], dict[str, Units]]:
    """Activations of a batch and those before, and all magnitudes. Compiled once for the same function (the same
    structure of a model) and shapes."""
    found = tracing.wiring(function, params, x, trainable)
    called = {name: calls for name, calls in found.activations(params, x, only).items() if calls}
    active = {name: _active(calls, before.get(name)) for name, calls in called.items()}
    arrays = {name: leaf for name, leaf in flatten(params).items() if _is_array(leaf)}
    chosen = [layer for layer in found.hidden if layer.below(only)]
    seen = magnitudes(chosen, arrays, {name: one.largest for name, one in active.items()}).items()
    return active, {name: replace(layer, rate=active[name].rate if name in active else None) for name, layer in seen}


@dataclass(frozen=True, eq=False)
class _Filled:
    """A function of the arrays of its two arguments, the rest of which stays as it is."""

    function: Callable[[Any, Any], Any]
    params: Callable[[Any], Any]
    x: Callable[[Any], Any]

    def __call__(self, arrays: Any, inputs: Any) -> Any:
        return self.function(self.params(list(arrays.values())), self.x(inputs))


def _is_array(leaf: Any) -> bool:
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype")


def measure(
    model: nnx.Module | Callable[[Any, Any], Any],
    batches: Any,
    *,
    params: Tree = None,
    thresholds: Thresholds | None = None,
    only: str = "",
) -> Sparsity:
    """Which units of any model are dead, per layer and by each criterion.

    Layers, their units and their activations are read off the computation; the output layer is not counted.

        js.measure(model, batches)                                        # flax.nnx
        js.measure(module.apply, batches, params=variables)               # flax.linen
        js.measure(lambda p, x: net.apply(p, None, x), batches, params=params)   # haiku, or any function

    Args:
      model: a `flax.nnx` model, called with one batch; it is put into evaluation mode (a copy: the given one is left as
        it is). Or a function `f(params, x)`.
      batches: inputs with a leading batch axis, each as the model takes it (one array or one dict is a single batch);
        the whole training set, for the activation criterion to mean what the paper means.
      params: of the function; any tree of arrays.
      thresholds: of the three criteria; the paper's where not given.
      only: path below which layers count (`"convolutions"`); everything where empty.

    Raises:
      InvalidInput: for what is neither a model nor a function with its params, where there is no layer below `only`, or
        no batch.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> from flax import nnx
      >>> rngs, ones = nnx.Rngs(0), nnx.initializers.ones
      >>> first, norm = nnx.Linear(3, 4, kernel_init=ones, rngs=rngs), nnx.BatchNorm(4, rngs=rngs)
      >>> norm.scale[...] = jnp.array([1.0, 1e-5, -2.0, 0.0])  # of the third, ReLU leaves nothing
      >>> print(js.measure(nnx.Sequential(first, norm, nnx.relu, nnx.Linear(4, 2, rngs=rngs)), jnp.ones((5, 3))))
      layer     units       scale  activation        norm
      layers/0      4           2           2           0
      dead                 50.0 %      50.0 %       0.0 %
    """
    function, params, trainable = _function(model, params)
    active: dict[str, _Active] = {}
    units: dict[str, Units] = {}
    found: tuple[Layer, ...] = ()
    seen_any = False
    for x in [batches] if _is_array(batches) or isinstance(batches, Mapping) else batches:
        seen_any = True
        own, given, x = function, params, jax.tree.map(lambda leaf: jnp.asarray(leaf) if _is_array(leaf) else leaf, x)
        if not all(map(_is_array, jax.tree.leaves((params, x)))):
            (_, restored), (inputs, rebuilt) = arrays_of(params), arrays_of(x)
            own, x = _Filled(function, restored, rebuilt), inputs
            given = {name: leaf for name, leaf in flatten(params).items() if _is_array(leaf)}
        found = tuple(layer for layer in tracing.wiring(own, given, x, trainable).hidden if layer.below(only))
        active, units = _seen(own, trainable, only, given, x, active)
    require(seen_any, "batches", "none", "at least one batch")
    require(bool(found) or not only, "only", only, "the path of a module that holds layers")
    held = jax.device_get(units)  # a plain dict, in the order of its names
    seen = ByLayer({layer.name: held[layer.name] for layer in found}, names_of(found))
    return judge(seen, thresholds or Thresholds())


MODELS = "a flax.nnx.Module, or a function f(params, x) with params=.. (linen, haiku, equinox: their own apply)"
