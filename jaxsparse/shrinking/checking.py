"""Whether a smaller model computes what the masked one does: a check that a lucky example cannot blind.

Both are computed in float32 (float64 where that is on) whatever types their code asks for, on the example, on numbers
drawn at random, at another batch size and, where the model takes one, at another length. Then they may differ by
rounding only, relative to the largest output: there is no floor under which anything goes. What no input shows is read
in the code: a number that the two traces state differently depends on a width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsparse.tracing.program import RUN_ONCE, Program, arrays_of, trace

ROUNDING = {8: 1e-10, 4: 1e-5}
"""Largest difference by bytes of a number, relative to the largest output; for shorter ones two units of rounding."""
SENSITIVITY = 8
"""Where rounding all weights once changes the outputs by more than that, so many times this change is allowed."""
LENGTHS = (lambda n: n + 1, lambda n: n - 1, lambda n: 2 * n, lambda n: n // 2)
"""Other lengths that a model is tried with, in turn."""


@dataclass(frozen=True)
class Input:
    """What a model is called with."""

    tree: Any

    @cached_property
    def arrays(self) -> list[Any]:
        return arrays_of(self.tree)[0]

    @property
    def batch(self) -> int:
        """Length of the first axis."""
        return next((np.shape(array)[0] for array in self.arrays if np.ndim(array)), 1)

    def _with(self, arrays: Sequence[Any]) -> Input:
        return Input(arrays_of(self.tree)[1](arrays))

    def first(self) -> Input:
        """The first of the batch."""
        batch = self.batch
        return self._with([a[:1] if np.ndim(a) and np.shape(a)[0] == batch else a for a in self.arrays])

    def drawn(self, shapes: Sequence[tuple[int, ...]]) -> Input:
        """Random numbers of these shapes, as large as those that are there; where these are all alike, normal ones."""
        rng = np.random.default_rng(0)

        def draw(array: Any, shape: tuple[int, ...]) -> Any:
            if jnp.issubdtype(array.dtype, jax.dtypes.prng_key) or not np.ndim(array):
                return array
            values = np.asarray(array)
            if values.dtype == bool:
                return jnp.asarray(rng.random(shape) < 0.5)
            if not jnp.issubdtype(values.dtype, jnp.floating):
                low, high = (int(end(values)) if values.size else 0 for end in (np.min, np.max))
                return jnp.asarray(rng.integers(low, high + 1, shape), values.dtype)
            there = values.astype(np.float64).ravel()
            centre, spread = (there.mean(), there.std()) if there.size else (0.0, 0.0)
            if not np.isfinite(spread) or spread == 0:
                centre, spread = 0.0, 1.0
            return jnp.asarray(centre + spread * rng.normal(size=shape), values.dtype)

        return self._with([draw(array, shape) for array, shape in zip(self.arrays, shapes, strict=True)])

    def shapes(self, batch: int | None = None, length: int | None = None) -> list[tuple[int, ...]]:
        """Shapes of the arrays with another batch size, and another length (of the images, another height and width).

        The length is that of the second axis of the first array; axes as long as it, last ones of more than two not
        counted, go with it.
        """
        found = []
        for array in self.arrays:
            shape = list(np.shape(array))
            between = range(1, len(shape) if len(shape) == 2 else len(shape) - 1)
            for axis in between:
                if length is not None and (len(shape) > 3 or shape[axis] == self.length):
                    shape[axis] += length - (self.length or 0)
            if shape and shape[0] == self.batch and batch is not None:
                shape[0] = batch
            found.append(tuple(shape))
        return found

    @property
    def length(self) -> int | None:
        """Length of the second axis of the first array that has one."""
        return next((np.shape(array)[1] for array in self.arrays if np.ndim(array) > 1), None)


def of_another_length(model: nnx.Module, example: Input) -> list[tuple[int, ...]] | None:
    """Shapes, for the same batch, that the model takes too; None where it takes its own only. What it computes numbers
    from that are none (looked up beyond the end of a table of positions) it does not take."""

    def numbers(program: Program, given: Input) -> bool:
        outputs = _outputs(program, model, given)
        return all(np.isfinite(a).all() for a in outputs if jnp.issubdtype(a.dtype, jnp.inexact))

    own: bool | None = None
    for other in LENGTHS if example.length else ():
        shapes = example.shapes(length=other(example.length))
        if any(size < 1 for shape in shapes for size in shape):
            continue
        types = [array.dtype for array in example.arrays]
        tree = arrays_of(example.tree)[1]
        try:
            program = trace(model, tree([jax.ShapeDtypeStruct(*both) for both in zip(shapes, types, strict=True)]))
        except Exception:  # whatever the model's own code raises at sizes it does not expect
            continue
        if not numbers(program, example.drawn(shapes)):
            own = numbers(trace(model, example.tree), example) if own is None else own
            if own:
                continue
        return shapes
    return None


@dataclass(frozen=True)
class _Run:
    program: Program
    input: Input
    outputs: list[np.ndarray]


def _outputs(program: Program, model: nnx.Module, given: Input) -> list[np.ndarray]:
    def call(leaves: list[Any], arrays: list[Any]) -> list[Any]:
        values = program.execute(leaves, arrays, wide=True)
        return [values[number] for number in program.outputs]

    leaves = jax.tree.leaves(nnx.state(model))
    found = jax.jit(call, compiler_options=RUN_ONCE)(leaves, given.arrays)
    return [np.asarray(jax.random.key_data(a) if _is_key(a) else a) for a in found]


def _is_key(array: Any) -> bool:
    return jnp.issubdtype(array.dtype, jax.dtypes.prng_key)


class Check:
    """Compares models with one whose outputs they must have.

    Attributes:
      lengths: shapes of an input of another length that the model takes; None where it takes none.
    """

    def __init__(self, target: nnx.Module, example: Any):
        self.target, self.example = target, Input(example)
        self.lengths = of_another_length(target, self.example)

    @cached_property
    def _runs(self) -> list[_Run]:
        return list(self._of(self.target))

    def _inputs(self) -> Iterator[Input]:
        example = self.example
        yield example
        yield example.drawn(example.shapes())
        yield example.drawn(example.shapes(batch=example.batch + 1))
        if self.lengths is not None:
            yield example.drawn(self.lengths)

    def _of(self, model: nnx.Module, *, other_lengths: bool = True) -> Iterator[_Run]:
        program: Program | None = None
        shapes: list[Any] = []
        inputs = list(self._inputs())
        for given in inputs if other_lengths or self.lengths is None else inputs[:-1]:
            if program is None or [np.shape(array) for array in given.arrays] != shapes:
                program, shapes = trace(model, given.tree), [np.shape(array) for array in given.arrays]
            yield _Run(program, given, _outputs(program, model, given))

    def change(self, model: nnx.Module) -> float:
        """Largest difference of this model's outputs on the example."""
        found = next(self._of(model))
        return max(map(_largest, found.outputs, self._runs[0].outputs), default=0.0)

    def difference(self, model: nnx.Module, *, folded: bool, other_lengths: bool = True) -> float | None:
        """Largest difference to the target's outputs; None if the model does not run or computes something else.

        Args:
          folded: whether numbers of the model's own type took constants up, so that their rounding counts.
          other_lengths: whether the model is to take inputs of other lengths than the example's.
        """
        differences = [0.0]
        try:
            for run, own in zip(self._runs, self._of(model, other_lengths=other_lengths), strict=False):
                differences += self._agreement(run, own, folded)
        except Exception:  # whatever the model's own code raises at sizes it does not expect
            return None
        return max(differences) if np.isfinite(max(differences)) else None

    def _agreement(self, run: _Run, own: _Run, folded: bool) -> list[float]:
        """Differences of the outputs, infinite where they are more than rounding."""
        if len(run.outputs) != len(own.outputs) or _numbers_differ(run.program, own.program):
            return [np.inf]
        found = []
        for place, (expected, got) in enumerate(zip(run.outputs, own.outputs, strict=True)):
            if expected.shape != got.shape or expected.dtype != got.dtype:
                return [np.inf]
            difference = _largest(expected, got)
            if not jnp.issubdtype(expected.dtype, jnp.inexact):
                found.append(difference if difference == 0 else np.inf)
                continue
            largest = float(np.max(np.abs(expected), initial=0.0, where=np.isfinite(expected)))
            bound = self._rounding(expected.dtype, folded) * largest
            if difference > bound:
                bound = SENSITIVITY * _largest(expected, self._rounded(run)[place])
            found.append(difference if difference <= bound else np.inf)
        return found

    def _rounding(self, dtype: Any, folded: bool) -> float:
        leaves = jax.tree.leaves(nnx.state(self.target)) if folded else []
        types = [dtype, *(leaf.dtype for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating))]
        return max(ROUNDING.get(jnp.finfo(each).bits // 8, 2 * float(jnp.finfo(each).eps)) for each in types)

    def _rounded(self, run: _Run) -> list[np.ndarray]:
        """The target's outputs when each of its numbers is off by half a unit of rounding."""
        rng = np.random.default_rng(1)

        def off(leaf: Any) -> Any:
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                return leaf
            wide = np.asarray(leaf).astype(np.float64 if leaf.dtype == np.float64 else np.float32)
            unit = float(jnp.finfo(leaf.dtype).eps) / 2
            return jnp.asarray(wide * (1 + unit * rng.choice([-1, 1], leaf.shape)).astype(wide.dtype))

        graph, state = nnx.split(self.target)
        return _outputs(run.program, nnx.merge(graph, jax.tree.map(off, state), copy=True), run.input)


def _largest(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference; infinite where only one is not a number, or they are infinite otherwise."""
    if not jnp.issubdtype(a.dtype, jnp.inexact):
        return float(np.max(np.abs(a.astype(np.int64) - b.astype(np.int64)), initial=0))
    alike = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        apart = np.where(alike, 0.0, np.abs(a.astype(float) - b.astype(float)))
    return float(np.max(np.nan_to_num(apart, nan=np.inf), initial=0.0))


def _numbers_differ(one: Program, other: Program) -> bool:
    """Whether two traces of the same steps state a number differently: one that depends on a width."""
    if [step.name for step in one.steps] != [step.name for step in other.steps]:
        return False  # code that chooses its steps by a width: what these compute, inputs show
    for a, b in zip(one.steps, other.steps, strict=True):
        for x, y in zip(a.inputs, b.inputs, strict=True):
            first, second = (_stated(program, number) for program, number in ((one, x), (other, y)))
            if first is not None and second is not None and first != second:
                return True
    return False


def _stated(program: Program, number: int) -> float | None:
    """The number that a constant holds everywhere."""
    values = np.ravel(program.constants[number]) if number in program.constants else np.zeros(0)
    if values.size == 0 or not (jnp.issubdtype(values.dtype, jnp.number) and (values == values[0]).all()):
        return None
    return float(values[0])
