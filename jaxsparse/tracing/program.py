"""A model as a flat list of primitive steps: its jaxpr in evaluation mode, with every call written out.

    program = trace(model, example)
    program.steps[0].primitive.name                 # "conv_general_dilated"
    program.names["convolutions/0/linear/kernel"]   # number of the value that holds this parameter

Values are numbered. Parameters, running statistics and the example come in from outside; literals and captured arrays
are `constants`; every other value is the output of one step. Steps that nothing needs are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Primitive, Var
from jax.extend.core.primitives import broadcast_in_dim_p, concatenate_p, slice_p, squeeze_p

from jaxsparse.trees import flatten


def names(text: str) -> frozenset[str]:
    """Words of a text: names of primitives."""
    return frozenset(text.split())


CALLING = names("jit pjit closed_call core_call custom_jvp_call custom_vjp_call checkpoint remat remat2")
"""Primitives that just call a function."""
CALLED = ("jaxpr", "call_jaxpr", "fun_jaxpr")
"""Parameters under which they keep it."""
UNROLLED = 64
"""Loops over no more positions are written out; a longer one is a single step."""
RUN_ONCE = {"xla_backend_optimization_level": 0}
"""Compiler options for what runs a single time: compiling takes far longer than running."""


@dataclass(frozen=True)
class Step:
    """One primitive operation on numbered values."""

    primitive: Primitive
    params: dict[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    choice: int | None = None
    """which choice of the platform it was written out from"""

    @property
    def name(self) -> str:
        return self.primitive.name

    def __call__(self, *arrays: Any) -> list[Any]:
        """What the step gives for these inputs."""
        found = self.primitive.bind(*arrays, **self.params)
        return list(found) if self.primitive.multiple_results else [found]


@dataclass(frozen=True)
class Program:
    """Steps in the order of their execution."""

    steps: tuple[Step, ...]
    shapes: tuple[tuple[int, ...], ...]
    """of every value"""
    types: tuple[Any, ...]
    """of every value"""
    names: dict[str, int]
    """parameters and running statistics"""
    inputs: tuple[int, ...]
    """leaves of the example"""
    outputs: tuple[int, ...]
    constants: dict[int, Any]
    choices: dict[int, Step]
    """the choices of the platform, as one step each"""
    choosing: tuple[Step, ...]
    """what says which platform it is"""

    @cached_property
    def uses(self) -> Counter[int]:
        """How often each value is read."""
        return Counter([number for step in self.steps for number in step.inputs] + list(self.outputs))

    @cached_property
    def producers(self) -> dict[int, Step]:
        """The step that makes a value."""
        return {number: step for step in self.steps for number in step.outputs}

    @cached_property
    def dependent(self) -> frozenset[int]:
        """Values that are computed from the input, whether or not it matters to them."""
        found = set(self.inputs)
        for step in self.steps:
            if found.intersection(step.inputs):
                found.update(step.outputs)
        return frozenset(found)

    def origin(self, number: int) -> str | None:
        """The one parameter that a value is computed from, if it is computed from nothing else."""
        if number in self._named:
            return self._named[number]
        step = self.producers.get(number)
        sources = [source for source in step.inputs if source not in self.constants] if step else []
        return self.origin(sources[0]) if len(sources) == 1 else None

    @cached_property
    def _named(self) -> dict[int, str]:
        return {number: name for name, number in self.names.items()}

    def execute(
        self, parameters: Sequence[Any], inputs: Sequence[Any], *, wide: bool = False, native: bool = False
    ) -> list[Any]:
        """Every value of the program (`None` for one that nothing needs).

        Args:
          wide: compute in float32 (float64 where that is on) whatever types the model's own code asks for.
          native: compute as the model does on this platform; values inside of a choice of the platform are `None`.
        """
        values: list[Any] = [None] * len(self.shapes)
        take = _wide if wide else jnp.asarray
        for numbers, arrays in ((self.names.values(), parameters), (self.inputs, inputs)):
            for number, array in zip(numbers, arrays, strict=True):
                values[number] = take(array) if wide else array
        for number, array in self.constants.items():
            values[number] = take(array)
        chosen: set[int] = set()
        for step in (*(self.choosing if native else ()), *self.steps):
            if native and step.choice is not None:
                if step.choice in chosen:
                    continue
                chosen.add(step.choice)
                step = self.choices[step.choice]
            operands = [values[number] for number in step.inputs]
            found = self._widely(step, operands) if wide else step(*operands)
            for number, array in zip(step.outputs, found, strict=True):
                values[number] = array
        return values

    def _widely(self, step: Step, operands: Sequence[Any]) -> list[Any]:
        """A step in float32 or float64; one that calls functions of fixed types is computed in those."""
        if step.name == "reduce_precision":
            return list(operands)
        if step.name == "bitcast_convert_type" or any(map(_holds_code, jax.tree.leaves(step.params))):
            types = [self.types[number] for number in step.inputs]
            fitting = [_to(array, dtype) for array, dtype in zip(operands, types, strict=True)]
            return [_wide(array) for array in step(*fitting)]
        params = {key: _widest() if _is_narrow(value) else value for key, value in step.params.items()}
        return replace(step, params=params)(*operands)


def _widest() -> Any:
    return jnp.zeros((), float).dtype


def _is_narrow(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and jnp.issubdtype(dtype, jnp.floating)


def _to(array: Any, dtype: Any) -> Any:
    return array.astype(dtype) if _is_narrow(array.dtype) else array


def _wide(array: Any) -> Any:
    return _to(jnp.asarray(array), _widest())


def _holds_code(value: Any) -> bool:
    return isinstance(value, ClosedJaxpr | Jaxpr)


def arrays_of(tree: Any) -> tuple[list[Any], Callable[[Sequence[Any]], Any]]:
    """The arrays of a tree, and the tree with other arrays in their places; what is not an array (a flag, a number of
    Python's) stays as it is."""
    leaves, structure = jax.tree.flatten(tree)
    places = [place for place, leaf in enumerate(leaves) if hasattr(leaf, "shape") and hasattr(leaf, "dtype")]

    def rebuilt(arrays: Sequence[Any]) -> Any:
        filled = list(leaves)
        for place, array in zip(places, arrays, strict=True):
            filled[place] = array
        return jax.tree.unflatten(structure, filled)

    return [leaves[place] for place in places], rebuilt


class _Tracer:
    """Writes a jaxpr out as steps."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.types: list[Any] = []
        self.constants: dict[int, Any] = {}
        self.steps: list[Step] = []
        self.choices: dict[int, Step] = {}

    def new(self, aval: Any) -> int:
        self.shapes.append(tuple(getattr(aval, "shape", ())))
        self.types.append(getattr(aval, "dtype", None))
        return len(self.shapes) - 1

    def constant(self, value: Any) -> int:
        number = self.new(value if hasattr(value, "dtype") else np.asarray(value))
        self.constants[number] = value
        return number

    def write(self, jaxpr: Jaxpr, constants: Iterable[Any], arguments: Sequence[int]) -> list[int]:
        """Appends the steps of a jaxpr; the numbers of its outputs."""
        numbers: dict[Var, int] = dict(zip(jaxpr.invars, arguments, strict=True))
        numbers.update(zip(jaxpr.constvars, map(self.constant, constants), strict=True))

        def number(atom: Var | Literal) -> int:
            aval: Any = atom.aval
            return self.constant(np.asarray(atom.val, aval.dtype)) if isinstance(atom, Literal) else numbers[atom]

        for equation in jaxpr.eqns:
            inputs = [number(atom) for atom in equation.invars]
            called = _called(equation)
            if equation.primitive.name == "scan" and equation.params["length"] <= UNROLLED:
                outputs = self._unrolled(equation, inputs)
            elif called is None:
                outputs = [self.new(var.aval) for var in equation.outvars]
                self.steps.append(Step(equation.primitive, equation.params, tuple(inputs), tuple(outputs)))
            else:
                inner, skipped = called
                start = len(self.steps)
                outputs = self.write(inner.jaxpr, inner.consts, inputs[skipped:])
                if skipped:
                    self._choose(equation, inputs, outputs, start)
            numbers.update(zip(equation.outvars, outputs, strict=True))
        return [number(atom) for atom in jaxpr.outvars]

    def _choose(self, equation: JaxprEqn, inputs: Sequence[int], outputs: Sequence[int], start: int) -> None:
        """Marks the steps from `start` on as one choice of the platform."""
        own = {number for step in self.steps[start:] for number in step.outputs}
        if own.issuperset(outputs) and all(step.choice is None for step in self.steps[start:]):
            choice = len(self.choices)
            self.steps[start:] = [replace(step, choice=choice) for step in self.steps[start:]]
            self.choices[choice] = Step(equation.primitive, equation.params, tuple(inputs), tuple(outputs))

    def _unrolled(self, equation: JaxprEqn, inputs: Sequence[int]) -> list[int]:
        """A loop over the first axis, written out once for each position."""
        params = equation.params
        constants, carried = params["num_consts"], params["num_carry"]
        state, over = list(inputs[constants : constants + carried]), inputs[constants + carried :]
        order = range(params["length"])
        rows: dict[int, list[int]] = {}
        inner = params["jaxpr"]
        for at in reversed(order) if params["reverse"] else order:
            row = [self._position(number, at) for number in over]
            found = self.write(inner.jaxpr, inner.consts, [*inputs[:constants], *state, *row])
            state, rows[at] = found[:carried], found[carried:]
        stacked = [
            self._stacked([rows[at][place] for at in order], var.aval)
            for place, var in enumerate(equation.outvars[carried:])
        ]
        return [*state, *stacked]

    def _bind(self, primitive: Primitive, inputs: Sequence[int], size: Sequence[int], **params: Any) -> int:
        number = self.new(jax.ShapeDtypeStruct(tuple(size), self.types[inputs[0]]))
        self.steps.append(Step(primitive, params, tuple(inputs), (number,)))
        return number

    def _position(self, number: int, at: int) -> int:
        shape = self.shapes[number]
        start, limit = (at, *[0] * len(shape[1:])), (at + 1, *shape[1:])
        row = self._bind(slice_p, [number], (1, *shape[1:]), start_indices=start, limit_indices=limit, strides=None)
        return self._bind(squeeze_p, [row], shape[1:], dimensions=(0,))

    def _stacked(self, numbers: Sequence[int], aval: Any) -> int:
        if not numbers:
            return self.constant(np.zeros(aval.shape, aval.dtype))
        rows = [
            self._bind(
                broadcast_in_dim_p,
                [number],
                (1, *self.shapes[number]),
                shape=(1, *self.shapes[number]),
                broadcast_dimensions=tuple(range(1, 1 + len(self.shapes[number]))),
                sharding=None,
            )
            for number in numbers
        ]
        return self._bind(concatenate_p, rows, aval.shape, dimension=0)


def _called(equation: JaxprEqn) -> tuple[ClosedJaxpr, int] | None:
    """The function that an equation calls, and how many of its inputs are not arguments of it.

    Where the platform decides, all branches compute the same; the last one is that of no platform in particular.
    """
    name, params = equation.primitive.name, equation.params
    if name == "cond" and params.get("branches_platforms"):
        return params["branches"][-1], 1
    if name not in CALLING:
        return None
    inner = next(params[key] for key in CALLED if key in params)
    return (inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, ())), 0


def _needed(steps: Sequence[Step], outputs: Sequence[int]) -> tuple[Step, ...]:
    wanted, kept = set(outputs), []
    for step in reversed(steps):
        if wanted.intersection(step.outputs):
            wanted.update(step.inputs)
            kept.append(step)
    return tuple(reversed(kept))


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A model as a function of its state and an input, in evaluation mode; the same for models of one structure."""

    graph: nnx.GraphDef

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Evaluation) and (self.graph is other.graph or self.graph == other.graph)

    def __hash__(self) -> int:
        try:
            return hash(self.graph)
        except TypeError:  # a model that holds a dict, say, of settings
            return id(self.graph)

    def __call__(self, state: Any, example: Any) -> Any:
        copy: Any = nnx.merge(self.graph, state, copy=True)
        copy.eval()
        return copy(example)


def function_of(model: nnx.Module) -> tuple[Evaluation, Any]:
    """A model as a function of its state and an input, and its state."""
    graph, state = nnx.split(model)
    return Evaluation(graph), state


def trace(model: nnx.Module, example: Any) -> Program:
    """The steps of `model(example)`, with the model in evaluation mode.

    Args:
      model: left as it is.
      example: what the model takes: an array, or a pytree of arrays and of flags and numbers of Python's.
    """
    return trace_function(*function_of(model), example)


def trace_function(function: Callable[[Any, Any], Any], params: Any, example: Any) -> Program:
    """The steps of `function(params, example)`; `params` is any tree of arrays."""
    leaves, restored = arrays_of(params)
    inputs, rebuilt = arrays_of(example)

    def call(leaves: list[Any], inputs: list[Any]) -> Any:
        return arrays_of(function(restored(leaves), rebuilt(inputs)))[0]

    closed = jax.make_jaxpr(call)(leaves, inputs)
    tracer = _Tracer()
    arguments = [tracer.new(aval) for aval in closed.in_avals]
    outputs = tracer.write(closed.jaxpr, closed.consts, arguments)
    named = [name for name, leaf in flatten(params).items() if hasattr(leaf, "shape") and hasattr(leaf, "dtype")]
    steps = _needed(tracer.steps, outputs)
    there = {number for step in steps for number in step.outputs}
    missing = [n for choice in tracer.choices.values() for n in choice.inputs if n not in there]
    choosing = [step for step in _needed(tracer.steps, missing) if not there.intersection(step.outputs)]
    return Program(
        steps=steps,
        shapes=tuple(tracer.shapes),
        types=tuple(tracer.types),
        names=dict(zip(named, arguments, strict=False)),
        inputs=tuple(arguments[len(leaves) :]),
        outputs=tuple(outputs),
        constants=tracer.constants,
        choices=tracer.choices,
        choosing=tuple(choosing),
    )
