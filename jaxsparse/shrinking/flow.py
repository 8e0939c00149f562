"""What the input can change, and what the output reads: one pass forwards and one backwards, element by element.

A unit is superfluous where it can't change (its scale, or all that comes in, is zero: what it puts out is a constant)
or where nobody reads it (all that it feeds is multiplied by zero). Both follow from the numbers in the model by
`operations.spread`; no rule speaks of layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsparse.tracing.operations import CONTRACTIONS, spread
from jaxsparse.tracing.program import RUN_ONCE, Program, Step


class Flow(NamedTuple):
    """For every value of a program an array of its shape; `None` for values that nothing needs."""

    values: list[Any]
    """what it is for the given input"""
    varies: list[Any]
    """booleans: another input may change this element"""
    read: list[Any]
    """booleans: this element may change the output (not looked at where the input plays no part: true)"""
    read_by: dict[int, tuple[Any, ...]]
    """by number of a product step: the elements of its inputs that may change the output through this step"""


def follow(program: Program, parameters: Sequence[Any], inputs: Sequence[Any]) -> Flow:
    """Runs the program on one input and marks its elements."""

    def run(parameters: list[Any], inputs: list[Any]) -> Flow:
        return _follow(program, parameters, inputs)

    found = jax.jit(run, compiler_options=RUN_ONCE)(list(parameters), list(inputs))
    return jax.tree.map(lambda array: array if _is_key(array) else np.asarray(array), found)


def _follow(program: Program, parameters: list[Any], inputs: list[Any]) -> Flow:
    values = program.execute(parameters, inputs)
    present = [number for number, value in enumerate(values) if value is not None]
    varies: list[Any] = [None] * len(values)
    nonzero: list[Any] = [None] * len(values)

    def mark(number: int, marked: jax.Array) -> None:
        varies[number] = marked
        nonzero[number] = (_other_than_zero(values[number]) | marked).astype(jnp.float32)

    produced = set(program.producers)
    for number in present:
        if number not in produced:
            mark(number, jnp.full(program.shapes[number], number in program.inputs))
    spreads: list[Any] = []
    for step in program.steps:
        around = [[source[number] for number in step.inputs] for source in (nonzero, values)]
        fixed = [number not in program.dependent for number in step.inputs]
        spreads.append(partial(_spread, step, around, fixed))
        if all(fixed):
            outputs = [jnp.zeros(program.shapes[number]) for number in step.outputs]
        else:
            outputs = spreads[-1](*(varies[number].astype(jnp.float32) for number in step.inputs))
        for number, marked in zip(step.outputs, outputs, strict=True):
            mark(number, marked > 0)

    read: list[Any] = [None] * len(values)
    for number in present:
        read[number] = jnp.full(program.shapes[number], number in program.outputs or number not in program.dependent)
    read_by: dict[int, tuple[Any, ...]] = {}
    for index, step in reversed(list(enumerate(program.steps))):
        if not program.dependent.intersection(step.inputs):
            continue
        nothing = [jnp.zeros(program.shapes[number], jnp.float32) for number in step.inputs]
        _, back = jax.vjp(spreads[index], *nothing)
        marks = [arrived > 0 for arrived in back([read[number].astype(jnp.float32) for number in step.outputs])]
        for number, marked in zip(step.inputs, marks, strict=True):
            if number in program.dependent:
                read[number] |= marked
        if step.name in CONTRACTIONS:
            read_by[index] = tuple(
                read[n] if n not in program.dependent else m for n, m in zip(step.inputs, marks, strict=True)
            )
    return Flow(values, varies, read, read_by)


def _spread(step: Step, around: list[list[Any]], fixed: list[bool], *marks: jax.Array) -> list[Any]:
    nonzero, values = around
    return spread(step, marks, nonzero, values, fixed)


def _is_key(array: jax.Array) -> bool:
    return jnp.issubdtype(array.dtype, jax.dtypes.prng_key)


def _other_than_zero(value: jax.Array) -> jax.Array:
    return jnp.ones(value.shape, bool) if _is_key(value) else value != 0
