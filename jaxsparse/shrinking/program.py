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

from jaxsparse.trees import flatten


def names(text: str) -> frozenset[str]:
    """Words of a text: names of primitives."""
    return frozenset(text.split())


CALLING = names("jit pjit closed_call core_call custom_jvp_call custom_vjp_call checkpoint remat remat2")
"""Primitives that just call a function."""
CALLED = ("jaxpr", "call_jaxpr", "fun_jaxpr")
"""Parameters under which they keep it."""
RUN_ONCE = {"xla_backend_optimization_level": 0}
"""Compiler options for what runs a single time: compiling takes far longer than running."""


@dataclass(frozen=True)
class Step:
    """One primitive operation on numbered values."""

    primitive: Primitive
    params: dict[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

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

    def execute(self, parameters: Sequence[Any], inputs: Sequence[Any], *, wide: bool = False) -> list[Any]:
        """Every value of the program (`None` for one that nothing needs).

        Args:
          wide: compute in float32 (float64 where that is on) whatever types the model's own code asks for.
        """
        values: list[Any] = [None] * len(self.shapes)
        take = _wide if wide else jnp.asarray
        for numbers, arrays in ((self.names.values(), parameters), (self.inputs, inputs)):
            for number, array in zip(numbers, arrays, strict=True):
                values[number] = take(array) if wide else array
        for number, array in self.constants.items():
            values[number] = take(array)
        for step in self.steps:
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
            if called is None:
                outputs = [self.new(var.aval) for var in equation.outvars]
                self.steps.append(Step(equation.primitive, equation.params, tuple(inputs), tuple(outputs)))
            else:
                inner, skipped = called
                outputs = self.write(inner.jaxpr, inner.consts, inputs[skipped:])
            numbers.update(zip(equation.outvars, outputs, strict=True))
        return [number(atom) for atom in jaxpr.outvars]


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


def trace(model: nnx.Module, example: Any) -> Program:
    """The steps of `model(example)`, with the model in evaluation mode.

    Args:
      model: left as it is.
      example: what the model takes: an array, or a pytree of arrays and of flags and numbers of Python's.
    """
    graph, state = nnx.split(model)
    leaves, structure = jax.tree.flatten(state)
    inputs, rebuilt = arrays_of(example)

    def call(leaves: list[Any], inputs: list[Any]) -> Any:
        copy: Any = nnx.merge(graph, jax.tree.unflatten(structure, leaves), copy=True)
        copy.eval()
        return arrays_of(copy(rebuilt(inputs)))[0]

    closed = jax.make_jaxpr(call)(leaves, inputs)
    tracer = _Tracer()
    arguments = [tracer.new(aval) for aval in closed.in_avals]
    outputs = tracer.write(closed.jaxpr, closed.consts, arguments)
    return Program(
        steps=_needed(tracer.steps, outputs),
        shapes=tuple(tracer.shapes),
        types=tuple(tracer.types),
        names=dict(zip(flatten(state), arguments, strict=False)),
        inputs=tuple(arguments[len(leaves) :]),
        outputs=tuple(outputs),
        constants=tracer.constants,
    )
