"""`shrink`: trace, mark, fold, cut, check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsparse import sparsity
from jaxsparse.config import Thresholds, require
from jaxsparse.shrinking.channels import Channels
from jaxsparse.shrinking.cutting import Cut, replace_arrays
from jaxsparse.shrinking.flow import Flow, follow
from jaxsparse.shrinking.folding import Borders, Folding, fold
from jaxsparse.shrinking.masking import Dead, dead_by_scale, masked
from jaxsparse.shrinking.operations import contracted
from jaxsparse.shrinking.program import RUN_ONCE, Program, trace
from jaxsparse.shrinking.report import LayerReport, Report
from jaxsparse.trees import flatten, size

AGREEMENT = 1e4
"""The shrunk model must give what the masked one gives on the example within so many units of rounding."""


def shrink(
    model: nnx.Module,
    example: Any,
    dead: Dead | None = None,
    *,
    constants: Mapping[str, Any] | None = None,
    tolerance: float = Thresholds.scale,
    borders: Borders = Borders.KEEP,
) -> tuple[Any, Report]:
    """A smaller network without the dead units, and what was done.

    The result computes exactly what `masked(model, dead, constants)` computes, up to rounding: the same network with
    every dead unit's gamma (without a normalisation: its incoming weights) set to zero and its beta (bias) kept. So
    what removal changes is what the dead units still did, at most |gamma| * |x^| before the activation function for a
    unit that is dead by scale; `Report.change` measures it.

    Removed is every unit of the masked network that is superfluous: it can't change, or nothing reads it. These are the
    dead units and those that become superfluous with them, such as all that feeds a layer that died whole. A constant
    other than zero goes into the biases (running means) behind it where these can take it up exactly; elsewhere the
    unit stays, and the report says why. Units of a residual sum stay while any of its terms is alive.

    How channels depend on each other is read off the traced computation, not off the modules, so any `flax.nnx` model
    will do. Sizes that its own code states (`reshape(-1, 3136)`) can't be changed from outside: layers whose removal
    such code contradicts stay.

    Args:
      model: left as it is. Its call must take one argument.
      example: an input with a leading batch axis, as the model takes it.
      dead: booleans `[units]` by layer, as in `js.measure(..).dead["scale"]` (or of any other criterion). By default
        units with |gamma| below `tolerance`, and in layers without a normalisation those whose incoming weights have
        an L2 norm below it.
      constants: what dead units are to put out before their activation function; see `masked`. For units that are dead
        by activation under ReLU, zeros.
      tolerance: >= 0; for the default of `dead`.
      borders: what to do with constants that zero padding makes differ near the borders.

    Returns:
      A model of the same class with smaller arrays, in the mode (training or evaluation) of the given one, and the
      report. A layer may end with no unit at all, where the model runs like this; else it keeps one.

    Raises:
      InvalidInput: for a layer that the model lacks, or an array of the wrong shape.
    """
    require(np.isfinite(tolerance) and tolerance >= 0, "tolerance", tolerance, "a finite number >= 0")
    dead = dead_by_scale(model, tolerance) if dead is None else dead
    target = masked(model, dead, constants)
    example = jax.tree.map(jnp.asarray, example)
    analysis = _analyse(target, jax.tree.map(lambda leaf: leaf[:1], example))
    evaluate = _evaluation(model, example)
    expected = evaluate(target)

    def attempt(removed: np.ndarray) -> _Attempt | None:
        removed, folding = analysis.settle(removed, Borders(borders))
        cut = analysis.cut(removed)
        smaller = replace_arrays(target, _arrays(target, cut, folding))
        difference = _difference(smaller, example, expected)
        return None if difference is None else _Attempt(smaller, removed, folding, cut, difference)

    done, notes = _most(attempt, analysis.superfluous(), analysis.units(target))
    change = max(map(_largest, evaluate(model), expected), default=0.0)
    report = Report(
        layers=analysis.layers(target, dead, done),
        cut=done.cut,
        unknown=analysis.channels.unknown,
        parameters_before=size(nnx.state(model, nnx.Param)),
        parameters_after=size(nnx.state(done.model, nnx.Param)),
        difference=done.difference,
        change=change,
        notes=notes,
    )
    return done.model, report


class _Attempt(NamedTuple):
    """A smaller model that agrees with the masked one."""

    model: nnx.Module
    removed: np.ndarray
    """booleans by channel number"""
    folding: Folding
    cut: Cut
    difference: float


@dataclass(frozen=True)
class _Analysis:
    program: Program
    flow: Flow
    channels: Channels
    busy: dict[int, str]
    """channels that can't be removed, with the reason"""

    def settle(self, removed: np.ndarray, borders: Borders) -> tuple[np.ndarray, Folding]:
        """Takes back the removal of channels whose constants have nowhere to go, until all have."""
        while True:
            folding = fold(self.program, self.flow, self.channels, removed, borders)
            if not folding.stay:
                return removed, folding
            removed = removed.copy()
            removed[list(folding.stay)] = False
            self.busy.update(folding.stay)

    def roots(self, name: str, axis: int) -> np.ndarray:
        """The channels along an axis of a parameter; 0 for what is not a channel."""
        labels = self.channels.labels[self.program.names[name]][axis]
        return np.maximum(self.channels.find(labels), 0)

    def cut(self, removed: np.ndarray) -> Cut:
        shapes = {name: self.program.shapes[number] for name, number in self.program.names.items()}
        kept = {
            name: tuple(np.flatnonzero(~removed[self.roots(name, axis)]) for axis in range(len(shape)))
            for name, shape in shapes.items()
        }
        return Cut(shapes, kept)

    def units(self, model: nnx.Module) -> dict[str, np.ndarray]:
        """Channels of the units of each layer."""
        found = {}
        for layer in sparsity.layers(model):
            own = "scale" if layer.linear is None else "kernel"
            path = next(path for path, module in nnx.iter_modules(model) if module is (layer.linear or layer.norm))
            found[layer.name] = self.roots("/".join(map(str, (*path, own))), -1)
        return found

    def superfluous(self) -> np.ndarray:
        """Channels that nothing speaks for, by number."""
        found = np.ones(self.channels.count, bool)
        found[[0, *self.busy]] = False
        return found

    def layers(self, model: nnx.Module, dead: Dead, done: _Attempt) -> dict[str, LayerReport]:
        found = {}
        for name, roots in self.units(model).items():
            asked = np.asarray(dead.get(name, np.zeros(len(roots))), bool)
            gone = done.removed[roots]
            folded = np.flatnonzero(gone & np.isin(roots, list(done.folding.folded)))
            reasons = {
                int(unit): self.busy.get(int(roots[unit]), "see the notes") for unit in np.flatnonzero(asked & ~gone)
            }
            found[name] = LayerReport(asked, np.flatnonzero(~gone), folded, reasons)
        return found


def _analyse(model: nnx.Module, example: Any) -> _Analysis:
    """Everything about a model but what is done with it."""
    program = trace(model, example)
    leaves = jax.tree.leaves(nnx.state(model))
    numeric = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves]
    used = [program.uses[number] > 0 for number in program.names.values()]
    channels = Channels(program, [a and b for a, b in zip(numeric, used, strict=True)])
    flow = follow(program, leaves, jax.tree.leaves(example))
    busy = channels.pinned()
    for index, step in enumerate(program.steps):
        if index not in flow.read_by:
            continue
        for position, number in enumerate(step.inputs):
            alive = flow.varies[number] & flow.read_by[index][position]
            for pair in contracted(step):
                axis = pair[position]
                rest = tuple(other for other in range(alive.ndim) if other != axis)
                for channel in channels.find(channels.labels[number][axis])[alive.any(rest)]:
                    if channel > 0:
                        busy.setdefault(int(channel), "its channel is alive in another term of a sum, or elsewhere")
    return _Analysis(program, flow, channels, busy)


def _most(
    attempt: Callable[[np.ndarray], _Attempt | None], superfluous: np.ndarray, units: Mapping[str, np.ndarray]
) -> tuple[_Attempt, tuple[str, ...]]:
    """Removes as much as the model's own code allows; also notes on what it did not.

    Args:
      attempt: removes channels; None where the model then does not run, or computes something else.
      superfluous: booleans by channel number.
      units: channels of each layer.
    """
    done = attempt(superfluous)
    if done is not None:
        return done, ()
    spared = superfluous.copy()
    for roots in units.values():
        if len(roots) and superfluous[roots].all():
            spared[roots[0]] = False
    done = attempt(spared)
    if done is not None:
        return done, ("layers that died whole keep one unit: the model does not run without",)
    notes: tuple[str, ...] = ()
    done = attempt(np.zeros_like(superfluous))
    assert done is not None, "a model without anything removed agrees with itself"
    for name, roots in units.items():
        more = done.removed.copy()
        more[roots] = spared[roots]
        if (more == done.removed).all():
            continue
        found = attempt(more)
        if found is None:
            notes = (*notes, f"{name} keeps its units: the model's own code depends on how many there are")
        else:
            done = found
    return done, notes


def _arrays(model: nnx.Module, cut: Cut, folding: Folding) -> dict[str, Any]:
    """The smaller arrays by name, with the folded constants in them."""
    arrays: dict[str, Any] = {}
    for name, leaf in flatten(nnx.state(model)).items():
        if name in folding.taken:
            leaf = leaf + jnp.asarray(folding.taken[name], leaf.dtype)
        arrays[name] = cut.leaf(name, leaf)
    for kernel, extra in folding.maps.items():
        bias = kernel.removesuffix("kernel") + "bias"
        extra = jnp.asarray(extra[..., cut.kept[kernel][-1]], arrays[kernel].dtype)
        arrays[bias] = extra + arrays[bias][None, None] if bias in arrays else extra
    return arrays


def _evaluation(model: nnx.Module, example: Any) -> Callable[[nnx.Module], list[np.ndarray]]:
    """The outputs, on the example, of models that differ from this one in their numbers only."""
    graph = nnx.split(model)[0]

    def call(state: Any, example: Any) -> Any:
        copy: Any = nnx.merge(graph, state, copy=True)
        copy.eval()
        return copy(example)

    compiled = jax.jit(call, compiler_options=RUN_ONCE)
    return lambda other: [np.asarray(leaf) for leaf in jax.tree.leaves(compiled(nnx.state(other), example))]


def _largest(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.max(np.abs(a.astype(float) - b.astype(float)), initial=0.0))


def _difference(model: nnx.Module, example: Any, expected: list[np.ndarray]) -> float | None:
    """Largest difference to the expected outputs; None if the model does not run or gives something else."""
    try:
        found = _evaluation(model, example)(model)
    except Exception:  # whatever the model's own code raises at sizes it does not expect
        return None
    differences = []
    for a, b in zip(found, expected, strict=True):
        if a.shape != b.shape:
            return None
        bound = AGREEMENT * float(jnp.finfo(b.dtype).eps) * float(np.max(np.abs(b), initial=1.0))
        differences.append(_largest(a, b))
        if not differences[-1] <= bound:
            return None
    return max(differences, default=0.0)
