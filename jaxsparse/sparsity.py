"""Which units of a network are dead, by three criteria (Mehta et al. 2019, section 2.1; Yaguchi et al. 2018, II-B).

A *unit* is an output of a dense layer or a channel of a convolution, with the normalisation behind it. It is dead

- by *scale* where |gamma| of its normalisation is below a threshold,
- by *activation* where its largest |activation| over the whole training set, every position of every image, does not
  exceed a threshold, with running statistics,
- by *norm* where the L2 norm of its incoming weights is below a threshold.

`observe` gives the magnitudes themselves, so that thresholds can be chosen, and changed, afterwards.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.tree_util import Partial

from jaxsparse.config import Thresholds, require
from jaxsparse.data import Dataset, Seen, Split, Stream, preprocess, seen_in
from jaxsparse.layers import Activation
from jaxsparse.losses import evaluate

Path: TypeAlias = tuple[Any, ...]
"""Keys on the way to a module: names and numbers."""

CRITERIA = ("scale", "activation", "norm")


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
        found: dict[str, jax.Array] = {}
        if self.gamma is not None:
            found["scale"] = abs(self.gamma) < thresholds.scale
        if self.activation is not None:
            found["activation"] = self.activation <= thresholds.activation
        if self.norm is not None:
            found["norm"] = self.norm < thresholds.norm
        return found


@dataclass(frozen=True)
class Layer:
    """Where a layer's parameters are: the module with the kernel, the one with the scale, and the name of both."""

    path: Path
    linear: nnx.Module | None
    norm: nnx.Module | None
    output: Path
    """path of the module whose output goes into the rectifier"""

    @property
    def name(self) -> str:
        return "/".join(map(str, self.path))


def _has(module: Any, name: str) -> bool:
    return getattr(getattr(module, name, None), "ndim", 0) > 0


def layers(model: nnx.Module, only: str = "") -> list[Layer]:
    """The layers of any `flax.nnx` model, in order of their paths, below the path `only`.

    A module that holds just one module with a kernel and just one with a scale is one layer, named after the holder;
    elsewhere which normalisation belongs to which kernel cannot be told from the modules, and each is a layer of its
    own.
    """
    modules = dict(nnx.iter_modules(model))
    wanted = tuple(part for part in only.split("/") if part)
    children: dict[Path, list[tuple[Path, Any]]] = {}
    for path, module in modules.items():
        if _has(module, "kernel") or _has(module, "scale"):
            children.setdefault(path[:-1], []).append((path, module))
    found: list[Layer] = []
    for parent, members in children.items():
        kernels = [member for member in members if _has(member[1], "kernel")]
        scales = [member for member in members if _has(member[1], "scale")]
        if len(kernels) == len(scales) == 1:
            found.append(Layer(parent or scales[0][0], kernels[0][1], scales[0][1], scales[0][0]))
        else:
            found += [Layer(path, module, None, path) for path, module in kernels]
            found += [Layer(path, None, module, path) for path, module in scales]
    chosen = [layer for layer in found if tuple(map(str, layer.path[: len(wanted)])) == wanted]
    return sorted(chosen, key=lambda layer: [str(part).zfill(4) for part in layer.path])


OUTPUT = "output of this layer"
"""Name under which a recording layer sows what it puts out."""


@lru_cache
def _recording(layer: type[Any]) -> type[Any]:
    """The class of a layer that also sows what it puts out. (`nnx.capture` can have all methods do that, but changes
    the classes of the model's layers while it runs, under the eyes of other threads.)"""

    class Recording(layer):
        def __call__(self, *arguments: Any, **keywords: Any) -> Any:
            out = super().__call__(*arguments, **keywords)
            self.sow(nnx.Intermediate, OUTPUT, out)
            return out

    return Recording


def _outputs_of(captured: Any, path: Path) -> list[jax.Array]:
    """What a module put out, a `[n, .., units]` for each call."""
    node = nnx.to_pure_dict(captured)
    for part in (*path, OUTPUT):
        require(part in node, "model", "/".join(map(str, path)), "made of layers that are called")
        node = node[part]
    return [leaf for leaf in jax.tree.leaves(node) if leaf.ndim >= 2]


def outputs(model: nnx.Module, x: jax.Array, only: str = "") -> dict[str, list[jax.Array]]:
    """What goes into each layer's activation function over a batch `x`, a `[n, .., units]` for each call: what its
    normalisation puts out (without one, its linear map)."""
    copy = nnx.clone(model)
    modules, found = dict(nnx.iter_modules(copy)), layers(copy, only)
    for path in {layer.output for layer in found}:
        object.__setattr__(modules[path], "__class__", _recording(type(modules[path])))
    _, captured = nnx.capture(copy, nnx.Intermediate)(x)
    return {layer.name: _outputs_of(captured, layer.output) for layer in found}


def activations(
    model: nnx.Module, x: jax.Array, only: str = "", rectifier: Activation = jax.nn.relu
) -> dict[str, jax.Array]:
    """Largest |activation| per unit and layer over a batch `x`, with the model in evaluation mode.

    The activation is `rectifier` of what the layer's normalisation (or, without one, its linear map) puts out.
    """

    found = outputs(model, x, only)
    return {name: _largest([rectifier(out) for out in calls]) for name, calls in found.items()}


def _largest(calls: list[jax.Array]) -> jax.Array:
    """Of each unit over the images and positions of all calls, `[units]`."""
    return jnp.stack([abs(activation).max(tuple(range(activation.ndim - 1))) for activation in calls]).max(0)


def _nonzero(calls: list[jax.Array], real: jax.Array) -> jax.Array:
    """Of each unit the share of the positions where it is not zero, summed over the images that are real, `[units]`."""

    def counted(activation: jax.Array) -> jax.Array:
        share = (activation != 0).mean(tuple(range(1, activation.ndim - 1)), dtype=jnp.float32)
        return jnp.where(real[:, None], share, 0).sum(0)

    return jnp.stack([counted(activation) for activation in calls]).mean(0)


def units(model: nnx.Module, largest: Mapping[str, jax.Array], only: str = "") -> dict[str, Units]:
    """Magnitudes of each layer's units, given the largest activations (empty: not looked at); in order of the layers,
    which a plain dict loses on its way through a compiled function."""

    def of(layer: Layer) -> Units:
        norm: Any = layer.norm
        linear: Any = layer.linear
        kernel = None if linear is None else linear.kernel[...]
        return Units(
            gamma=None if norm is None else norm.scale[...],
            beta=None if norm is None or not _has(norm, "bias") else norm.bias[...],
            activation=largest.get(layer.name),
            norm=None if kernel is None else jnp.sqrt((kernel**2).sum(tuple(range(kernel.ndim - 1)))),
        )

    return OrderedDict((layer.name, of(layer)) for layer in layers(model, only))


def silence(model: nnx.Module, dead: Mapping[str, jax.Array]) -> nnx.Module:
    """A copy of the model whose dead units put out exactly zero: their gamma and beta (without a normalisation, their
    incoming weights and bias) are zero."""
    copy = nnx.clone(model)
    for layer in layers(copy):
        if layer.name not in dead:
            continue
        module: Any = layer.norm if layer.norm is not None else layer.linear
        for name in ("scale", "kernel", "bias"):
            if _has(module, name):
                variable = getattr(module, name)
                variable[...] = jnp.where(dead[layer.name], 0.0, variable[...])
    return copy


@lru_cache(maxsize=64)
def _looking(only: str, rectifier: Activation) -> Callable[..., Seen]:
    """One function for the same settings, so that it is compiled once."""

    def look(graph: nnx.GraphDef, state: Any, data: Dataset | Stream, batch: Split, real: jax.Array) -> Seen:
        found = outputs(nnx.merge(graph, state, copy=True), preprocess(data, batch.images), only)
        activated = {name: [rectifier(out) for out in calls] for name, calls in found.items()}
        return Seen(
            sums={name: _nonzero(calls, real) for name, calls in activated.items()},
            largest={name: _largest(calls) for name, calls in activated.items()},
        )

    return look


def observe(
    model: nnx.Module, data: Dataset | Stream, only: str = "", rectifier: Activation = jax.nn.relu
) -> dict[str, Units]:
    """Magnitudes of each layer's units, activations (by the model's `rectifier`) taken over the whole training set in
    one pass; traceable where that is on the device."""
    seen = seen_in(data.train, Partial(_looking(only, rectifier), *nnx.split(model), data))
    found = units(model, seen.largest, only).items()
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
    thresholds: Thresholds, only: str, rectifier: Activation = jax.nn.relu
) -> Callable[[nnx.Module, Dataset | Stream], Observation]:
    """The measure for `make_train`: magnitudes of the layers below `only`, and the error without the dead units;
    `rectifier` is the model's activation function."""

    def measure(model: nnx.Module, data: Dataset | Stream) -> Observation:
        seen = observe(model, data, only, rectifier)
        dead = {name: layer.dead(thresholds) for name, layer in seen.items()}
        chosen = {name: found["scale"] if "scale" in found else found["norm"] for name, found in dead.items()}
        _, error, error_top5 = evaluate(silence(model, chosen), data, data.test)
        return Observation(seen, error, error_top5)

    return measure


@dataclass(frozen=True)
class Sparsity:
    """Which units are dead: `dead[criterion][layer]` is a boolean `[units]`."""

    units: dict[str, Units]
    dead: dict[str, dict[str, np.ndarray]]

    def percent(self, criterion: str) -> float:
        """Percent of all units that are dead by a criterion; nan where no layer has what it looks at."""
        found = self.dead[criterion]
        return 100.0 * float(np.mean(np.concatenate(list(found.values())))) if found else float("nan")

    def counts(self) -> dict[str, dict[str, int | None]]:
        """Units of each layer, and how many are dead by each criterion (none where it lacks what that looks at)."""

        def by(criterion: str, name: str) -> int | None:
            mask = self.dead[criterion].get(name)
            return None if mask is None else int(mask.sum())

        return {
            name: {"units": len(layer), **{criterion: by(criterion, name) for criterion in CRITERIA}}
            for name, layer in self.units.items()
        }

    def __str__(self) -> str:
        width = max((len(name) for name in self.units), default=5)
        lines = [f"{'layer':{width}}  units" + "".join(f"  {criterion:>10}" for criterion in CRITERIA)]
        for name in self.units:
            found = {criterion: self.dead[criterion].get(name) for criterion in CRITERIA}
            cells = ["-" if mask is None else f"{int(mask.sum())}" for mask in found.values()]
            lines.append(f"{name:{width}}  {len(self.units[name]):5}" + "".join(f"  {cell:>10}" for cell in cells))
        total = [f"{self.percent(criterion):.1f} %" for criterion in CRITERIA]
        return "\n".join([*lines, f"{'dead':{width}}       " + "".join(f"  {cell:>10}" for cell in total)])


def judge(seen: Mapping[str, Units], thresholds: Thresholds) -> Sparsity:
    """Which of the observed units are dead."""
    found = {name: layer.dead(thresholds) for name, layer in seen.items()}
    dead = {
        criterion: {name: np.asarray(masks[criterion]) for name, masks in found.items() if criterion in masks}
        for criterion in CRITERIA
    }
    return Sparsity(dict(seen), dead)


def measure(
    model: nnx.Module,
    batches: Iterable[Any] | jax.Array | np.ndarray,
    *,
    thresholds: Thresholds | None = None,
    only: str = "",
    rectifier: Activation = jax.nn.relu,
) -> Sparsity:
    """Which units of any `flax.nnx` model are dead, per layer and by each criterion.

    Args:
      model: called with one batch; it is put into evaluation mode (a copy: the given one is left as it is).
      batches: inputs with a leading batch axis, each as the model takes it (or one array, as a single batch); the
        whole training set, for the activation criterion to mean what the paper means.
      thresholds: of the three criteria; the paper's where not given.
      only: path below which layers count (`"convolutions"`); everything where empty, the output layer too.
      rectifier: the model's activation function, applied to what each layer puts out.

    Raises:
      InvalidInput: where there is no layer below `only`, or no batch.
    """
    model = nnx.clone(model)
    model.eval()
    require(bool(layers(model, only)), "only", only, "the path of a module that holds layers")
    graph, state = nnx.split(model)

    @jax.jit
    def largest_of(state: Any, x: jax.Array) -> dict[str, jax.Array]:
        return activations(nnx.merge(graph, state, copy=True), x, only, rectifier)

    largest: dict[str, Any] = {}
    for batch in [batches] if hasattr(batches, "shape") else batches:
        found = largest_of(state, jnp.asarray(batch))
        largest = {name: jnp.maximum(value, largest.get(name, value)) for name, value in found.items()}
    require(bool(largest), "batches", "none", "at least one batch")
    return judge(units(model, largest, only), thresholds or Thresholds())
