"""What a network costs: parameters, multiplications, memory, time."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsparse.tracing.operations import CONTRACTIONS, contracted
from jaxsparse.tracing.program import Program, Step, arrays_of, trace
from jaxsparse.trees import flatten, size

BATCHES = (1, 64)
"""Images at a time whose latency is measured."""
SECONDS = 0.5
"""How long one latency is measured for, at least."""
CALLS = (5, 200)
"""Fewest and most calls in a measurement."""


@dataclass(frozen=True)
class LayerCost:
    """Of the module with this kernel, for one input."""

    parameters: int
    """of the module, its bias included"""
    macs: int
    """multiplications, each with its addition"""


@dataclass(frozen=True)
class Cost:
    """Of a model in evaluation mode."""

    parameters: int
    macs: int
    """multiplications of all products and convolutions for one input, each with its addition; those with the zeros of
    a padding count too"""
    activation_bytes: int
    """most memory that the results of steps need at one time, for one input, if each is freed after its last use and
    none is fused into the next"""
    latency: Mapping[int, float]
    """median seconds of a compiled, warm call, by the number of inputs in it"""
    layers: Mapping[str, LayerCost]
    """by path of the module that holds the kernel"""


def cost(model: nnx.Module, example: Any, batches: Sequence[int] = BATCHES) -> Cost:
    """Counts and measures a model.

    Args:
      model: left as it is.
      example: an input with a leading batch axis, as the model takes it.
      batches: numbers of inputs to measure the latency with; none: nothing is measured.
    """
    one = jax.tree.map(lambda leaf: jnp.asarray(leaf)[:1] if np.ndim(leaf) else leaf, example)
    program = trace(model, one)
    leaves = jax.tree.leaves(nnx.state(model))
    params = {name: leaf.size for name, leaf in flatten(nnx.state(model, nnx.Param)).items()}
    of_layers = _macs(program)
    holders = [name.rpartition("/")[0] for name in params if name.endswith("kernel")]
    layers = {
        path: LayerCost(sum(n for name, n in params.items() if name.rpartition("/")[0] == path), of_layers.get(path, 0))
        for path in holders
    }
    return Cost(
        parameters=size(nnx.state(model, nnx.Param)),
        macs=sum(of_layers.values()),
        activation_bytes=_peak(program, leaves, arrays_of(one)[0]),
        latency={batch: _latency(model, one, batch) for batch in batches},
        layers=layers,
    )


def macs(model: nnx.Module, example: Any) -> dict[str, int]:
    """Multiplications for one input, by path of the module that holds the kernel.

    Args:
      model: with arrays or their shapes.
      example: an input with a leading batch axis of one, or its shape.
    """
    return _macs(trace(model, example))


def _macs(program: Program) -> dict[str, int]:
    found: dict[str, int] = {}
    for step in program.steps:
        if step.name in CONTRACTIONS:
            kernel = next((name for name in map(program.origin, step.inputs) if name), "")
            found[kernel.rpartition("/")[0]] = found.get(kernel.rpartition("/")[0], 0) + multiplications(program, step)
    return found


def multiplications(program: Program, step: Step) -> int:
    """Multiplications of a product of arrays."""
    first, second = (program.shapes[number] for number in step.inputs)
    outputs = math.prod(program.shapes[step.outputs[0]])
    if step.name == "dot_general":
        return outputs * math.prod(first[axis] for axis, _ in contracted(step, first))
    output_axis = step.params["dimension_numbers"].rhs_spec[0]
    return outputs * math.prod(length for axis, length in enumerate(second) if axis != output_axis)


def _peak(program: Program, leaves: list[Any], inputs: list[Any]) -> int:
    """Largest sum of bytes alive at one time among the values that depend on the input."""
    avals = jax.eval_shape(program.execute, leaves, inputs)
    size_of = {number: avals[number].size * avals[number].dtype.itemsize for number in program.dependent}
    last = {number: index for index, step in enumerate(program.steps) for number in step.inputs}
    last.update(dict.fromkeys(program.outputs, len(program.steps)))
    alive = sum(size_of[number] for number in program.inputs)
    peak = alive
    for index, step in enumerate(program.steps):
        alive += sum(size_of.get(number, 0) for number in step.outputs)
        peak = max(peak, alive)
        ended = {number for number in (*step.inputs, *step.outputs) if last.get(number, index) == index}
        alive -= sum(size_of.get(number, 0) for number in ended)
    return peak


def stopwatch(model: nnx.Module, one: Any, batch: int) -> Callable[[], float]:
    """A function that evaluates the model on so many copies of an input, and tells the seconds; compiled and warm."""
    graph, state = nnx.split(model)

    @jax.jit
    def call(state: Any, example: Any) -> Any:
        copy: Any = nnx.merge(graph, state, copy=True)
        copy.eval()
        return copy(example)

    many = jax.tree.map(lambda leaf: jnp.repeat(leaf, batch, 0), one)
    jax.block_until_ready(call(state, many))

    def seconds() -> float:
        start = time.perf_counter()
        jax.block_until_ready(call(state, many))
        return time.perf_counter() - start

    return seconds


def _latency(model: nnx.Module, one: Any, batch: int) -> float:
    seconds, times = stopwatch(model, one, batch), []
    fewest, most = CALLS
    while len(times) < fewest or (sum(times) < SECONDS and len(times) < most):
        times.append(seconds())
    return statistics.median(times)
