"""`shrink`: trace, mark, fold, cut, check."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsparse.checks import require
from jaxsparse.criteria import Thresholds
from jaxsparse.shrinking.channels import Channels
from jaxsparse.shrinking.checking import Check, Input
from jaxsparse.shrinking.cutting import Cut, replace_arrays
from jaxsparse.shrinking.flow import Flow, follow
from jaxsparse.shrinking.folding import Borders, Folding, fold
from jaxsparse.shrinking.masking import Dead, by_layer, dead_by_scale, layers_of, masked
from jaxsparse.shrinking.report import LayerReport, Report
from jaxsparse.shrinking.rounding import least_dead, rounded
from jaxsparse.sparsity import ByLayer, magnitudes
from jaxsparse.tracing.operations import contracted
from jaxsparse.tracing.program import RUN_ONCE, Program, arrays_of, trace
from jaxsparse.tracing.units import Layer, Part, names_of
from jaxsparse.trees import flatten, size


def shrink(
    model: nnx.Module,
    example: Any,
    dead: Dead | None = None,
    *,
    constants: Mapping[str, Any] | None = None,
    tolerance: float = Thresholds.scale,
    borders: Borders = Borders.KEEP,
    round_to: int = 1,
    min_width: int = 1,
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
      round_to: >= 1; where a layer's width would not be a multiple, the least dead of its units stay (as the dead units
        that they are), until it is or all of them stay. 8 fills most processors' vectors.
      min_width: >= 1; so many units stay in a layer at least, unless it dies whole.

    Returns:
      A model of the same class with smaller arrays, in the mode (training or evaluation) of the given one, and the
      report. A layer may end with no unit at all, where the model runs like this; else it keeps one.

    Raises:
      InvalidInput: for a layer that the model lacks, an array of the wrong shape, or a number out of range.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> from flax import nnx
      >>> model, x = js.models.MLP(2, shape=(3,), widths=(4,), rngs=nnx.Rngs(0)), jnp.ones((5, 3))
      >>> model.eval()
      >>> model.hidden[0].norm.scale[1] = 0.0
      >>> smaller, report = js.shrink(model, x)
      >>> model.head.kernel.shape, smaller.head.kernel.shape, bool(jnp.allclose(model(x), smaller(x), atol=1e-5))
      ((4, 2), (3, 2), True)
      >>> print(report)
      layer     units    dead  folded  kept dead   after
      head          2       0       0          0       2
      hidden/0      4       1       0          0       3
      parameters 30 -> 23 (76.7 %)
    """
    for name, value in (("round_to", round_to), ("min_width", min_width)):
        require(isinstance(value, int | np.integer) and value >= 1, name, value, "a whole number >= 1")
    require(np.isfinite(tolerance) and tolerance >= 0, "tolerance", tolerance, "a finite number >= 0")
    example = _as_arrays(example)
    layers = layers_of(model, Input(example).first().tree)
    dead = dead_by_scale(model, tolerance, Input(example).first().tree) if dead is None else dead
    dead = by_layer(layers, dead, "dead", "booleans")
    target = masked(model, dead, constants, layers)
    check = Check(target, example)
    analysis = _analyse(target, check.example.first())

    @cache
    def of_another_length() -> _Analysis | None:
        lengths = check.lengths
        return None if lengths is None else _analyse(target, check.example.drawn(lengths).first())

    def attempt(removed: np.ndarray) -> _Attempt | None:
        removed, folding = analysis.settle(removed, Borders(borders), of_another_length)
        cut = analysis.cut(removed)
        smaller = replace_arrays(target, _arrays(target, cut, folding))
        folded, mapped = bool(folding.taken), bool(folding.maps)
        difference = check.difference(smaller, folded=folded or mapped, other_lengths=not mapped)
        return None if difference is None else _Attempt(smaller, removed, folding, cut, difference)

    done, notes = _most(attempt, analysis.superfluous(), analysis.units(layers))
    if round_to > 1 or min_width > 1:
        seen = magnitudes(layers, nnx.state(model, nnx.Param), {})
        order = {name: least_dead(units) for name, units in seen.items()}
        left, stay = rounded(done.removed, analysis.units(layers), order, round_to, min_width)
        wider = attempt(left)
        if wider is None:
            notes = (*notes, "widths are not rounded: the model's own code does not take them")
        else:
            done = wider
            analysis.busy.update(stay)

    def folded(copies: Mapping[str, Any]) -> Mapping[str, Any]:
        """The smaller arrays of a copy of the weights, whose dead units put out other constants."""
        graph, state = nnx.split(model)
        leaves = [copies.get(name, leaf) for name, leaf in flatten(state).items()]
        copy = nnx.merge(graph, jax.tree.unflatten(jax.tree.structure(state), leaves), copy=True)
        copy = masked(copy, dead, constants, layers)
        folding = analysis.again(copy, done.removed, Borders(borders), check.example.first())
        return _arrays(copy, done.cut, folding)

    weights = flatten(nnx.state(model, nnx.Param))
    cut = replace(done.cut, weights=weights, fold=folded if done.folding.taken or done.folding.maps else None)
    report = Report(
        layers=analysis.layers(layers, dead, done),
        cut=cut,
        unknown=analysis.channels.unknown,
        parameters_before=size(nnx.state(model, nnx.Param)),
        parameters_after=size(nnx.state(done.model, nnx.Param)),
        difference=done.difference,
        change=check.change(model),
        notes=notes,
    )
    return done.model, report


REPEATED = 1e3
"""Constants at two lengths are the same within so many units of rounding."""


class _Attempt(NamedTuple):
    """A smaller model that agrees with the masked one."""

    model: nnx.Module
    removed: np.ndarray
    """booleans by channel number"""
    folding: Folding
    cut: Cut
    difference: float


@dataclass(frozen=True)
class _Channelled:
    """The channels of a model, and where they lie in its parameters and layers."""

    program: Program
    channels: Channels
    busy: dict[int, str]
    """channels that can't be removed, with the reason"""

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

    def units(self, layers: Sequence[Layer]) -> dict[str, np.ndarray]:
        """Channels of the units of each layer, `[units, n]`: a unit is gone where one of its n channels is (a unit of
        an attention lies in a head and in a dimension)."""
        found = {}
        for layer in layers:
            part = next((part for part in layer.masked if part.axis is not None), layer.masked[0])
            found[layer.name] = self._channels(part, layer.size)
        return found

    def _channels(self, part: Part, units: int) -> np.ndarray:
        if part.axis is not None:
            return self.roots(part.name, part.axis)[:, None]
        found = []
        for axis in range(part.owner.ndim):
            at = np.arange(part.owner.shape[axis]).reshape(
                [-1 if other == axis else 1 for other in range(part.owner.ndim)]
            )
            where = np.broadcast_to(at, part.owner.shape)[part.owner >= 0]
            own = part.owner[part.owner >= 0]
            lowest, highest = np.full(units, part.owner.shape[axis]), np.full(units, -1)
            np.minimum.at(lowest, own, where)
            np.maximum.at(highest, own, where)
            if (lowest == highest).all():  # along this axis a unit has one position
                found.append(self.roots(part.name, axis)[lowest])
        return np.stack(found, 1) if found else np.zeros((units, 1), int)

    def superfluous(self) -> np.ndarray:
        """Channels that nothing speaks for, by number."""
        found = np.ones(self.channels.count, bool)
        found[[0, *self.busy]] = False
        return found


@dataclass(frozen=True)
class _Analysis(_Channelled):
    flow: Flow

    def settle(
        self, removed: np.ndarray, borders: Borders, of_another_length: Callable[[], _Analysis | None]
    ) -> tuple[np.ndarray, Folding]:
        """Takes back the removal of channels whose constants have nowhere to go, at any length of the input, until all
        have."""
        while True:
            folding = fold(self.program, self.flow, self.channels, removed, borders)
            stay = folding.stay
            if not stay and folding.taken:
                other = of_another_length()
                stay = {} if other is None else self._differ(other, removed, folding, borders)
            if not stay:
                return removed, folding
            removed = removed.copy()
            removed[list(stay)] = False
            self.busy.update(stay)

    def again(self, copy: nnx.Module, removed: np.ndarray, borders: Borders, example: Input) -> Folding:
        """The same removal from a copy with other numbers.

        Raises:
          InvalidInput: where its constants have nowhere to go.
        """
        run = jax.jit(self.program.execute, compiler_options=RUN_ONCE)
        values = jax.tree.map(np.asarray, run(jax.tree.leaves(nnx.state(copy)), example.arrays))
        folding = fold(self.program, self.flow._replace(values=values), self.channels, removed, borders)
        reason = next(iter(folding.stay.values()), "")
        require(not folding.stay, "tree", "weights", f"a copy of the weights whose dead units can go too: {reason}")
        return folding

    def _differ(self, other: _Analysis, removed: np.ndarray, folding: Folding, borders: Borders) -> dict[int, str]:
        """Channels that cannot go at another length of the input, or whose constants are others there."""
        every = np.arange(self.channels.count)
        own, theirs = (np.maximum(channels.find(every), 0) for channels in (self.channels, other.channels))
        gone = removed[own]
        whole = np.ones_like(gone)
        whole[theirs[~gone]] = False  # a channel that is larger at that length may hold what stays here
        there = fold(other.program, other.flow, other.channels, whole, borders)
        stay = {int(own[label]): "it is read at another length of the input" for label in every[gone & ~whole[theirs]]}
        busy = {channel: reason for channel, reason in (other.busy | there.stay).items() if whole[channel]}
        for channel, reason in busy.items():
            stay |= {int(root): reason for root in np.unique(own[theirs == channel])}
        for name, taken in folding.taken.items():
            again = there.taken.get(name, np.zeros_like(taken))
            size = np.abs(taken).max(initial=0.0)
            if (np.abs(taken - again) > REPEATED * float(jnp.finfo(taken.dtype).eps) * size).any():
                stay |= dict.fromkeys(
                    folding.sources[name], "its constant is another one at other lengths of the input"
                )
        return {root: reason for root, reason in stay.items() if removed[root]}

    def layers(self, layers: Sequence[Layer], dead: Dead, done: _Attempt) -> dict[str, LayerReport]:
        found = ByLayer(aliases=names_of(layers))
        folded = list(done.folding.folded)
        for name, roots in self.units(layers).items():
            asked = np.asarray(dead.get(name, np.zeros(len(roots))), bool)
            gone = done.removed[roots].any(1)
            reasons = {int(unit): self._reason(roots[unit]) for unit in np.flatnonzero(asked & ~gone)}
            taken_up = np.flatnonzero(gone & np.isin(roots, folded).any(1))
            found[name] = LayerReport(asked, np.flatnonzero(~gone), taken_up, reasons)
        return found

    def _reason(self, roots: np.ndarray) -> str:
        return next((self.busy[int(root)] for root in roots[::-1] if int(root) in self.busy), "see the notes")


def _as_arrays(example: Any) -> Any:
    """The example on the device, its flags and numbers as they are."""
    arrays, rebuilt = arrays_of(example)
    require(any(np.ndim(array) for array in arrays), "example", type(example).__name__, "a tree with an array in it")
    return rebuilt([jnp.asarray(array) for array in arrays])


def _analyse(model: nnx.Module, example: Input) -> _Analysis:
    """Everything about a model but what is done with it."""
    program = trace(model, example.tree)
    leaves = jax.tree.leaves(nnx.state(model))
    flow = follow(program, leaves, example.arrays)

    def alive(number: int) -> np.ndarray:
        if number in program.dependent:
            return flow.varies[number] & flow.read[number]
        return np.asarray(flow.values[number]) != 0

    channels = _channels(program, leaves, alive)
    busy = channels.pinned()
    for index, step in enumerate(program.steps):
        if index not in flow.read_by:
            continue
        for position, number in enumerate(step.inputs):
            alive = flow.varies[number] & flow.read_by[index][position]
            for pair in contracted(step, program.shapes[step.inputs[0]]):
                axis = pair[position]
                rest = tuple(other for other in range(alive.ndim) if other != axis)
                for channel in channels.find(channels.labels[number][axis])[alive.any(rest)]:
                    if channel > 0:
                        busy.setdefault(int(channel), "its channel is alive in another term of a sum, or elsewhere")
    return _Analysis(program, channels, busy, flow)


def _channels(program: Program, leaves: Sequence[Any], alive: Callable[[int], np.ndarray]) -> Channels:
    numeric = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves]
    used = [program.uses[number] > 0 for number in program.names.values()]
    return Channels(program, [a and b for a, b in zip(numeric, used, strict=True)], alive)


def parameters_left(model: nnx.Module, example: Any) -> Callable[[Dead], int]:
    """Counts the parameters that a network has without some of its units, from its computation and shapes alone.

    A channel goes where all units that share it are dead and the computation lets it; what becomes superfluous with
    them only because of its numbers, as `shrink` finds, is not counted as gone.

    Args:
      model: whose arrays may be shapes.
      example: an input with a leading batch axis, or its shapes.

    Returns:
      From booleans `[units]` by layer, true for dead ones, to a number of scalars.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> from flax import nnx
      >>> model = js.models.MLP(2, shape=(3,), widths=(4,), rngs=nnx.Rngs(0))
      >>> count = js.shrinking.parameters_left(model, jnp.ones((1, 3)))
      >>> count({}), count({"hidden/0": jnp.array([False, True, False, False])})  # 3 + 2 weights, gamma and beta go
      (30, 23)
    """
    program = trace(model, example)
    state = nnx.state(model)
    channels = _channels(program, jax.tree.leaves(state), lambda number: np.ones(program.shapes[number], bool))
    wired = _Channelled(program, channels, channels.pinned())
    layers = layers_of(model, example)
    units, trained = wired.units(layers), flatten(nnx.state(model, nnx.Param))

    def count(dead: Dead) -> int:
        known, removed = by_layer(layers, dead, "dead", "booleans"), np.zeros(channels.count, bool)
        gone = {name: np.asarray(known.get(name, np.zeros(len(roots))), bool) for name, roots in units.items()}
        for state in (True, False):  # what a living unit shares stays
            for name, roots in units.items():
                removed[roots[gone[name] == state]] = state
        removed[[0, *wired.busy]] = False
        kept = wired.cut(removed).kept
        return sum(math.prod(map(len, kept[name])) for name in trained if name in kept)

    return count


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
        if len(roots) and superfluous[roots].any(1).all():
            spared[roots[0]] = False
    done = attempt(spared)
    if done is not None:
        return done, ("layers that died whole keep one unit: the model does not run without",)
    notes: tuple[str, ...] = ()
    done = attempt(np.zeros_like(superfluous))
    assert done is not None, "a model without anything removed agrees with itself"
    for name, roots in units.items():
        more = done.removed.copy()
        more[np.unique(roots)] = spared[np.unique(roots)]
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
