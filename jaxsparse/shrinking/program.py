"""A model as a flat list of primitive steps: its jaxpr in evaluation mode, with every call written out.

    program = trace(model, example)
    program.steps[0].primitive.name                 # "conv_general_dilated"
    program.names["convolutions/0/linear/kernel"]   # number of the value that holds this parameter

Values are numbered. Parameters, running statistics and the example come in from outside; literals and captured arrays
are `constants`; every other value is the output of one step. Steps that nothing needs are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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

    def execute(self, parameters: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
        """Every value of the program (`None` for one that nothing needs)."""
        values: list[Any] = [None] * len(self.shapes)
        for numbers, arrays in ((self.names.values(), parameters), (self.inputs, inputs)):
            for number, array in zip(numbers, arrays, strict=True):
                values[number] = array
        for number, array in self.constants.items():
            values[number] = jnp.asarray(array)
        for step in self.steps:
            for number, array in zip(step.outputs, step(*(values[number] for number in step.inputs)), strict=True):
                values[number] = array
        return values


class _Tracer:
    """Writes a jaxpr out as steps."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.constants: dict[int, Any] = {}
        self.steps: list[Step] = []

    def new(self, shape: tuple[int, ...]) -> int:
        self.shapes.append(tuple(shape))
        return len(self.shapes) - 1

    def constant(self, value: Any) -> int:
        number = self.new(np.shape(value))
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
                outputs = [self.new(getattr(var.aval, "shape", ())) for var in equation.outvars]
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
      example: what the model takes: an array, or a pytree of arrays.
    """
    graph, state = nnx.split(model)
    leaves, structure = jax.tree.flatten(state)

    def call(leaves: list[Any], example: Any) -> Any:
        copy: Any = nnx.merge(graph, jax.tree.unflatten(structure, leaves), copy=True)
        copy.eval()
        return copy(example)

    closed = jax.make_jaxpr(call)(leaves, example)
    tracer = _Tracer()
    arguments = [tracer.new(aval.shape) for aval in closed.in_avals]
    outputs = tracer.write(closed.jaxpr, closed.consts, arguments)
    return Program(
        steps=_needed(tracer.steps, outputs),
        shapes=tuple(tracer.shapes),
        names=dict(zip(flatten(state), arguments, strict=False)),
        inputs=tuple(arguments[len(leaves) :]),
        outputs=tuple(outputs),
        constants=tracer.constants,
    )
