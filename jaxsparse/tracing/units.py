"""Layers and their units, read off the computation.

A *unit* is a channel that a product with weights puts out: of a dense layer, a convolution, an attention, an embedding,
a depth of stacked layers. What happens to it, number by number, until something else reads it belongs to it: a bias, a
normalisation's scale and shift, an activation function, a gate. The last of these values is its *activation*, what the
next layer reads (before pooling and averaging over positions, which change no unit). Two products that are multiplied
with each other, number by number, are one layer (a gated unit); one that occurs twice is one (a shared layer).

A scale of which no such chain knows, as of a normalisation that stands before its layer and reads a stream that others
read too, is a layer of its own, without weights. A layer that nobody reads, as it is the model's output, is marked.

Names only label: a layer is named after the module of its weights (or, where that module's holder has no other
parameters, after the holder), and goes by the names of its other modules too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsparse.tracing.operations import (
    CONTRACTIONS,
    ELEMENTWISE,
    IDENTITY,
    KNOWN,
    MOVING,
    READING,
    UNARY,
    WINDOWS,
    contracted,
    looked_up,
)
from jaxsparse.tracing.origins import Origin, same
from jaxsparse.tracing.program import Program, Step, arrays_of, trace_function

WEIGHT, BIAS, SCALE, SHIFT = "weight", "bias", "scale", "shift"


@dataclass(frozen=True)
class Part:
    """What a layer's units have of one parameter."""

    name: str
    role: str
    """weight (of what comes in), bias, scale or shift"""
    owner: np.ndarray
    """of each element of the parameter its unit, -1 for none"""
    axis: int | None
    """the axis along which the units stand in order, if it is one and they are all there is"""

    @classmethod
    def of(cls, name: str, role: str, owner: np.ndarray) -> Part:
        axes = [axis for axis, stride in enumerate(owner.strides) if stride or owner.shape[axis] == 1]
        for axis in reversed(range(owner.ndim) if len(axes) != 1 else axes):
            row = np.arange(owner.shape[axis]).reshape([-1 if at == axis else 1 for at in range(owner.ndim)])
            if np.array_equal(owner, np.broadcast_to(row, owner.shape)):
                return cls(name, role, np.broadcast_to(row, owner.shape), axis)
        return cls(name, role, owner, None)

    def norm(self, array: Any, units: int) -> Any:
        """L2 norm of each unit's elements, `[units]`."""
        return jnp.sqrt(self.sum(array**2, units))

    def sum(self, array: Any, units: int) -> Any:
        """Of each unit's elements, `[units]`."""
        if self.axis is not None:
            return array.sum(tuple(at for at in range(array.ndim) if at != self.axis))
        own = self.owner.ravel()
        return jax.ops.segment_sum(jnp.where(own >= 0, array.ravel(), 0), np.maximum(own, 0), units)

    def of_units(self, array: Any, units: int) -> Any:
        """The element of largest magnitude of each unit, `[units]`."""
        if self.axis is not None and array.ndim == 1:
            return array
        own = self.owner.ravel()
        order = np.argsort(own, kind="stable")
        starts = np.searchsorted(own[order], np.arange(units))
        if np.array_equal(own[order], np.arange(-int((own < 0).sum()), units).clip(-1)):  # one element each
            return array.ravel()[order[starts]]
        return jax.ops.segment_max(jnp.where(own >= 0, abs(array.ravel()), 0), np.maximum(own, 0), units)

    def where(self, chosen: Any) -> Any:
        """Booleans of the parameter's shape: the elements of the chosen units `[units]`."""
        chosen = jnp.asarray(chosen, bool)
        if self.axis is not None:
            return jnp.broadcast_to(
                chosen.reshape([-1 if at == self.axis else 1 for at in range(self.owner.ndim)]), self.owner.shape
            )
        return jnp.where(self.owner >= 0, chosen[np.maximum(self.owner, 0)], False)


@dataclass(frozen=True)
class Place:
    """Where the activations of a layer's units are."""

    value: int
    """number of the value in the program"""
    axes: tuple[int, ...]
    """those of the units"""
    order: tuple[int, ...] | None
    """along them, place of each unit, where these stand in another order than in the weights"""

    def units(self, array: Any) -> Any:
        """The value with its units along the last axis, `[n, .., units]`."""
        rest = [axis for axis in range(array.ndim) if axis not in self.axes]
        moved = array.transpose([*rest, *self.axes])
        last = moved.reshape(*(array.shape[axis] for axis in rest), -1)
        return last if self.order is None else last[..., np.asarray(self.order)]


@dataclass(frozen=True)
class Layer:
    """Units that one product puts out, or that one normalisation scales."""

    name: str
    aliases: tuple[str, ...]
    """what else it goes by: paths of the modules that hold its parameters"""
    size: int
    """number of its units"""
    parts: tuple[Part, ...]
    values: tuple[Place, ...] = ()
    """where its activations are; one for each call"""
    output: bool = False
    """it is what the model puts out, in every call"""

    def of_role(self, *roles: str) -> list[Part]:
        return [part for part in self.parts if part.role in roles]

    @property
    def masked(self) -> list[Part]:
        """What is zero where a unit ignores its input: its scales; without any, its weights."""
        return self.of_role(SCALE) or self.of_role(WEIGHT)

    @property
    def silenced(self) -> list[Part]:
        """What is zero where a unit puts out zero, or what its activation function makes of it."""
        roles = (SCALE, SHIFT) if self.of_role(SCALE) else (WEIGHT, BIAS, SHIFT)
        return self.of_role(*roles)

    def below(self, path: str) -> bool:
        """Whether it is below a path (everything is below the empty one)."""
        wanted = tuple(part for part in path.split("/") if part)
        return tuple(self.name.split("/"))[: len(wanted)] == wanted


def layers(program: Program, trainable: Sequence[str]) -> tuple[Layer, ...]:
    """The layers of a program, in the order of their names; `trainable` parameters only are told from numbers."""
    found = _Reader(program, trainable).layers()
    return tuple(sorted(found, key=lambda layer: [part.zfill(4) for part in layer.name.split("/")]))


@dataclass(frozen=True)
class _Fixed:
    """A value that no input changes: the parameters it is a product of, and those that are its terms."""

    factors: tuple[Origin, ...] = ()
    terms: tuple[Origin, ...] = ()

    @property
    def added(self) -> tuple[Origin, ...]:
        return self.terms or (self.factors if len(self.factors) == 1 else ())


Carried = tuple[tuple[str, Origin], ...]
"""Roles, and the parameters whose units a value carries."""


@dataclass(frozen=True)
class _Chain:
    """What a product goes through, and where it ends."""

    end: int
    carried: Carried
    owned: frozenset[int]
    output: bool


class _Reader:
    def __init__(self, program: Program, trainable: Sequence[str]):
        self.program = program
        names = {name: number for name, number in program.names.items() if name in set(trainable)}
        self.fixed: dict[int, _Fixed] = {
            number: _Fixed((Origin.of(name, program.shapes[number]),)) for name, number in names.items()
        }
        for step in program.steps:
            if not program.dependent.intersection(step.inputs):
                for place, number in enumerate(step.outputs):
                    self.fixed[number] = self._computed(step, place)

    def layers(self) -> list[Layer]:
        program, found, owned = self.program, list[Layer](), set[int]()
        for index, step in enumerate(program.steps):
            carried = self._weights(step)
            if carried:
                chain = self._follow(index, carried)
                owned |= chain.owned
                self._add(found, chain)
        for index, step in enumerate(program.steps):
            if step.name == "mul" and step.outputs[0] not in owned and program.dependent.intersection(step.inputs):
                carried = tuple(
                    (SCALE, o) for o in self._spread(self._factors(step), program.shapes[step.outputs[0]]) if o.axes
                )
                if carried:
                    chain = self._follow(index, carried)
                    owned |= chain.owned
                    self._add(found, chain)
        return self._labelled(found)

    def _is_zero(self, number: int) -> bool:
        constant = self.program.constants.get(number)
        return constant is not None and not _is_key(constant) and not np.any(np.asarray(constant))

    def _of(self, number: int) -> _Fixed:
        return self.fixed.get(number, _Fixed())

    def _computed(self, step: Step, place: int) -> _Fixed:
        name, shape = step.name, self.program.shapes[step.outputs[place]]
        inputs = [self._of(number) for number in step.inputs]
        if name in IDENTITY:
            return self._of(step.inputs[place if name == "optimization_barrier" else 0])
        if name in MOVING or name == "split":
            return _Fixed(*(_moved(origins, step, shape, place) for origins in (inputs[0].factors, inputs[0].terms)))
        if name == "mul":
            return _Fixed((*inputs[0].factors, *inputs[1].factors))
        if name == "div":
            return _Fixed(inputs[0].factors)
        if name == "neg":
            return inputs[0]
        if name in ("add", "sub", "add_any"):
            nothing = [self._is_zero(number) for number in step.inputs]
            if True in nothing and not (name == "sub" and nothing[0]):  # a type promoted by adding zeros
                return inputs[nothing.index(False)] if False in nothing else _Fixed()
            return _Fixed((), tuple(origin for each in inputs for origin in each.added))
        return _Fixed()

    def _weights(self, step: Step) -> Carried:
        """What a product of the input with parameters puts out."""
        sides = [number in self.program.dependent for number in step.inputs]
        shape = self.program.shapes[step.outputs[0]]
        if step.name == "gather":
            rows = looked_up(step, self.program.shapes[step.inputs[0]])
            if sides != [False, True] or rows is None:
                return ()
            rest = [axis for axis in range(len(self.program.shapes[step.inputs[0]])) if axis != rows]
            kept = dict(zip(rest, step.params["dimension_numbers"].offset_dims, strict=True))
            return tuple((WEIGHT, origin.product(kept, shape)) for origin in self._of(step.inputs[0]).factors)
        if step.name not in CONTRACTIONS or sides.count(True) != 1:
            return ()
        side = sides.index(False)
        kept = _outgoing(step, side, [len(self.program.shapes[number]) for number in step.inputs])
        found = []
        for origin in self._of(step.inputs[side]).factors:
            summed = self._long(origin) - kept.keys()
            out = origin.product(kept, shape)
            if out.axes:
                found.append((WEIGHT if summed or len(self._of(step.inputs[side]).factors) == 1 else SCALE, out))
        return tuple(found)

    def _long(self, origin: Origin) -> set[int]:
        """Axes along which the elements differ, and there are several."""
        return {axis for axis in origin.axes if origin.shape[axis] > 1} or set(origin.axes)

    def _factors(self, step: Step) -> tuple[Origin, ...]:
        return tuple(
            origin
            for number in step.inputs
            if number not in self.program.dependent
            for origin in self._of(number).factors
        )

    def _follow(self, index: int, carried: Carried) -> _Chain:
        """From the output of a step to the last value that all who read it read it through."""
        program, step = self.program, self.program.steps[index]
        start = step.outputs[0]
        inside: dict[int, Carried] = {start: carried}
        left = {start: program.uses[start]}
        own = {start}  # values of the units themselves: not pooled, not averaged
        end, order, output = start, [start], start in program.outputs
        size = self._size(start, carried)
        leading = _leading(carried)
        for later in program.steps[index + 1 :]:
            if not any(left.values()):
                break
            within = [number for number in later.inputs if number in inside]
            if not within:
                continue
            foreign = [n for n in later.inputs if n in program.dependent and n not in inside]
            chosen = later.name == "select_n" and foreign == [later.inputs[0]]
            if (foreign and later.name != "mul" and not chosen) or later.name not in KNOWN - READING:
                continue  # it reads: what it read stays in use for good
            for number in within:
                left[number] -= 1
            for place, number in enumerate(later.outputs):
                inside[number] = self._carried(later, inside, place)
                left[number] = program.uses[number]
                order.append(number)
                output |= number in program.outputs
                if self._counts(later, within, own):
                    own.add(number)
            last = later.outputs[-1]
            alone = not any(uses for number, uses in left.items() if number != last)
            whole = any(role == leading for role, _ in inside[last])  # joining others may have lost the units
            fits = alone and len(later.outputs) == 1 and last in own and whole
            if fits and self._size(last, inside[last]) <= size:  # flattening would make units of their positions
                end = last
        return _Chain(end, inside[end], frozenset(order[: order.index(end) + 1]), output)

    def _size(self, number: int, carried: Carried) -> int:
        """Positions of units along the axes of a value."""
        shape = self.program.shapes[number]
        return int(np.prod([shape[axis] for axis in _unit_axes(carried)]))

    def _counts(self, step: Step, within: Sequence[int], own: set[int]) -> bool:
        """Whether a step acts on each unit at each position, rather than on what pooling left of it."""
        if step.name in MOVING or step.name == "split":
            lengths = [math.prod(self.program.shapes[number]) for number in (within[0], step.outputs[0])]
            return within[0] in own and lengths[0] <= lengths[1] * max(1, len(step.outputs))
        if step.name not in ELEMENTWISE:
            return False
        if own.intersection(within):
            return True
        if step.name in UNARY:
            return True
        others = [number for number in step.inputs if number not in within]
        parametrised = any(self._of(number).factors or self._of(number).terms for number in others)
        return bool(parametrised or (others and step.name in ("max", "min")))

    def _carried(self, step: Step, inside: Mapping[int, Carried], place: int) -> Carried:
        name, shape = step.name, self.program.shapes[step.outputs[place]]
        if name == "optimization_barrier":
            return inside.get(step.inputs[place], ())
        found: list[tuple[str, Origin]] = []
        for number in step.inputs:
            for role, origin in inside.get(number, ()):
                if name in ELEMENTWISE:
                    moved = origin.repeated(shape)
                elif name in MOVING or name == "split":
                    moved = origin.moved(step, shape, place)
                elif name in WINDOWS and all(shape[axis] == origin.shape[axis] for axis in origin.axes):
                    moved = replace(origin, shape=shape)
                else:
                    moved = None
                if moved is not None and not any(
                    role == other and same(moved, there) and moved.numbers.keys() == there.numbers.keys()
                    for other, there in found
                ):
                    found.append((role, moved))
        scaled = any(role == SCALE for role, _ in found)
        for number in step.inputs:
            if number in self.program.dependent or name not in ELEMENTWISE:
                continue
            if name == "mul" and found:
                found += [(SCALE, o) for o in self._spread(self._of(number).factors, shape) if self._is_unit(o, found)]
            elif name == "mul":
                found += [(SCALE, o) for o in self._spread(self._of(number).factors, shape)]
            elif name in ("add", "add_any"):
                role = SHIFT if scaled else BIAS
                found += [(role, o) for o in self._spread(self._of(number).added, shape)]
        return tuple(found)

    def _spread(self, origins: Sequence[Origin], shape: tuple[int, ...]) -> list[Origin]:
        found = (origin.repeated(shape) for origin in origins)
        return [origin for origin in found if origin is not None]

    def _is_unit(self, origin: Origin, carried: Sequence[tuple[str, Origin]]) -> bool:
        """Whether a factor differs along the axes of the units; with one unit: whether it is an array of one number."""
        units = [other for role, other in carried if role in (WEIGHT, SCALE)]
        own = self.program.shapes[self.program.names[origin.name]]
        if own and math.prod(own) == 1:
            return all(other.shape[axis] == 1 for other in units for axis in other.axes)
        return bool({axis for other in units for axis in self._long(other)} & self._long(origin))

    def _add(self, found: list[Layer], chain: _Chain) -> None:
        program = self.program
        shape = program.shapes[chain.end]
        roles = (WEIGHT,) if any(role == WEIGHT for role, _ in chain.carried) else (SCALE,)
        axes = _unit_axes(chain.carried)
        sizes = [shape[axis] for axis in axes]
        units = np.arange(int(np.prod(sizes))).reshape(
            [shape[axis] if axis in axes else 1 for axis in range(len(shape))]
        )
        owners = [
            (origin.name, role, origin.owner(program.shapes[program.names[origin.name]], units))
            for role, origin in chain.carried
        ]
        order = _order(next(owner for _, role, owner in owners if role in roles), units.size)
        if order is not None:  # as they stand in the weights, which code may shuffle
            rank = np.append(np.argsort(order), -1)
            owners = [(name, role, rank[owner]) for name, role, owner in owners]
        parts = [Part.of(*owner) for owner in owners]
        place = Place(chain.end, axes, None if order is None else tuple(order.tolist()))
        layer = Layer("", (), units.size, _joined(parts), (place,), chain.output)
        weights = layer.of_role(*roles)
        for at, other in enumerate(found):
            theirs = other.of_role(*roles)
            shared = any(_equal(part, their) for part in weights for their in theirs)
            if other.size == layer.size and (shared or place in other.values):
                values = tuple(dict.fromkeys((*other.values, *layer.values)))
                parts = _joined((*other.parts, *layer.parts))
                found[at] = replace(other, parts=parts, values=values, output=other.output and layer.output)
                return
            if any(_overlap(part, their) for part in weights for their in theirs) and roles == (WEIGHT,):
                if self._finer(layer, other):  # called in two ways: its units are those of the one that joins fewer
                    found[at] = layer
                    return
                if self._finer(other, layer):
                    return
        found.append(layer)

    def _finer(self, one: Layer, other: Layer) -> bool:
        """Whether the units of the other join units of this one."""
        own, theirs = one.of_role(WEIGHT), other.of_role(WEIGHT)
        if one.size <= other.size or {part.name for part in own} != {part.name for part in theirs}:
            return False
        joined = np.full(one.size, -1)
        for part in own:
            for their in (each for each in theirs if each.name == part.name):
                both = (part.owner >= 0) & (their.owner >= 0)
                joined[part.owner[both]] = their.owner[both]
                if (joined[part.owner[both]] != their.owner[both]).any():
                    return False
        return bool((joined >= 0).all())

    def _labelled(self, found: list[Layer]) -> list[Layer]:
        return labelled(found, [name for name, number in self.program.names.items() if number in self.fixed])


def labelled(found: Sequence[Layer], trainable: Sequence[str]) -> list[Layer]:
    """The layers with names, from those of their parameters; `trainable`: all parameters there are."""
    modules = [list(dict.fromkeys(_module(part.name) for part in _by_role(layer))) for layer in found]
    owners: dict[str, set[int]] = {}
    for index, layer in enumerate(found):
        for part in layer.parts:
            owners.setdefault(part.name, set()).add(index)
    labels: list[str] = []
    for index, own in enumerate(modules):
        holder = own[0].rpartition("/")[0]
        whole = len(own) > 1 and holder and all(module.rpartition("/")[0] == holder for module in own)
        inside = [name for name in trainable if name.startswith(holder + "/")]
        labels.append(holder if whole and all(owners.get(name) == {index} for name in inside) else own[0])
    numbers: dict[str, Iterator[int]] = {label: count() for label in labels if labels.count(label) > 1}
    named = []
    for layer, label, own in zip(found, labels, modules, strict=True):
        name = f"{label}/{next(numbers[label])}" if label in numbers else label
        aliases = tuple(module for module in own if module != name and module not in numbers)
        named.append(replace(layer, name=name, aliases=aliases))
    return named


def _unit_axes(carried: Carried) -> tuple[int, ...]:
    """Axes of a value along which its units stand: those of the weights; without any, of the scales."""
    return tuple(sorted({axis for role, origin in carried if role == _leading(carried) for axis in origin.axes}))


def _leading(carried: Carried) -> str:
    """The role whose units count."""
    return WEIGHT if any(role == WEIGHT for role, _ in carried) else SCALE


def _order(owner: np.ndarray, units: int) -> np.ndarray | None:
    """The units in the order in which their first elements stand in a parameter; None where that is their own."""
    if sum(stride != 0 for stride in owner.strides) <= 1 and owner.size:
        line = owner[tuple(slice(None) if stride else 0 for stride in owner.strides)].ravel()
        first = np.zeros(units, int)
        first[line] = np.arange(len(line))
    else:
        first = np.full(units, owner.size)
        own = owner.ravel()
        np.minimum.at(first, own[own >= 0], np.flatnonzero(own >= 0))
    order = np.argsort(first, kind="stable")
    return None if np.array_equal(order, np.arange(units)) else order


def _by_role(layer: Layer) -> list[Part]:
    order = (WEIGHT, SCALE, SHIFT, BIAS)
    return sorted(layer.parts, key=lambda part: order.index(part.role))


def _module(name: str) -> str:
    """Path of the module that holds a parameter; a parameter that no module holds goes by its own name."""
    return name.rpartition("/")[0] or name


def _equal(one: Part, other: Part) -> bool:
    if one.name != other.name or one.axis != other.axis:
        return False
    return one.axis is not None or np.array_equal(one.owner, other.owner)


def _overlap(one: Part, other: Part) -> bool:
    """Whether the parts share elements of a parameter."""
    if one.name != other.name or one.owner.shape != other.owner.shape:
        return False
    return bool(((one.owner >= 0) & (other.owner >= 0)).any())


def _joined(parts: Sequence[Part]) -> tuple[Part, ...]:
    found: list[Part] = []
    for part in parts:
        if not any(part.role == other.role and _equal(part, other) for other in found):
            found.append(part)
    return tuple(found)


def _is_key(value: Any) -> bool:
    return jnp.issubdtype(getattr(value, "dtype", float), jax.dtypes.prng_key)


def _moved(origins: Sequence[Origin], step: Step, shape: tuple[int, ...], place: int) -> tuple[Origin, ...]:
    found = (origin.moved(step, shape, place) for origin in origins)
    return tuple(origin for origin in found if origin is not None)


def _outgoing(step: Step, side: int, ranks: Sequence[int]) -> dict[int, int]:
    """Axes of one input of a product that come out, and where."""
    if step.name == "conv_general_dilated":
        numbers = step.params["dimension_numbers"]
        return {numbers.rhs_spec[0]: numbers.out_spec[1]} if side == 1 else {}
    (_, batch), pairs = step.params["dimension_numbers"], contracted(step, ())
    summed = [[pair[each] for pair in pairs] for each in (0, 1)]
    kept = {axis: place for place, axis in enumerate(batch[side])}
    rest = [
        [axis for axis in range(rank) if axis not in (*summed[each], *batch[each])] for each, rank in enumerate(ranks)
    ]
    start = len(batch[0]) + (len(rest[0]) if side else 0)
    return kept | {axis: start + place for place, axis in enumerate(rest[side])}


@dataclass(frozen=True)
class Wiring:
    """A program and its layers."""

    program: Program
    layers: tuple[Layer, ...]

    @property
    def hidden(self) -> tuple[Layer, ...]:
        """All but what the model puts out."""
        return tuple(layer for layer in self.layers if not layer.output)

    def activations(self, params: Any, x: Any, only: str = "") -> dict[str, list[Any]]:
        """What each hidden layer below a path gives to the next, a `[n, .., units]` for each call."""
        values = self.program.execute(arrays_of(params)[0], arrays_of(x)[0], native=True)
        return {
            layer.name: [at.units(values[at.value]) for at in layer.values if values[at.value] is not None]
            for layer in self.hidden
            if layer.below(only)
        }


def names_of(layers: Sequence[Layer]) -> dict[str, str]:
    """From each name that a layer goes by to its name."""
    aliases = {alias: layer.name for layer in layers for alias in layer.aliases}
    return aliases | {layer.name: layer.name for layer in layers}


def wiring(function: Callable[[Any, Any], Any], params: Any, example: Any, trainable: Sequence[str]) -> Wiring:
    """The wiring of `function(params, example)`. Read once for the same function, shapes and types.

    Args:
      params, example: trees of arrays, or of their shapes, or traced.
      trainable: names of the parameters that are weights, biases, scales and shifts.
    """
    return _read(function, _Abstract.of(params), _Abstract.of(example), tuple(trainable))


@dataclass(frozen=True)
class _Abstract:
    """Shapes and types of a tree, and what else is in it."""

    structure: Any
    leaves: tuple[Any, ...]

    @classmethod
    def of(cls, tree: Any) -> _Abstract:
        leaves, structure = jax.tree.flatten(tree)
        shapes = [
            jax.ShapeDtypeStruct(a.shape, a.dtype) if hasattr(a, "shape") and hasattr(a, "dtype") else a for a in leaves
        ]
        return cls(structure, tuple(shapes))

    def tree(self) -> Any:
        return jax.tree.unflatten(self.structure, self.leaves)


@lru_cache(maxsize=64)
def _read(
    function: Callable[[Any, Any], Any], params: _Abstract, example: _Abstract, trainable: tuple[str, ...]
) -> Wiring:
    program = trace_function(function, params.tree(), example.tree())
    return Wiring(program, layers(program, trainable))
