"""What the shrinker knows about each primitive.

Every question about a step is asked of one thing, `spread`: which outputs does each input element reach? It is a linear
map of non-negative marks, one a number: an output is marked where the sum that arrives is positive, and run backwards
(its transpose) it says which inputs a set of outputs goes back to. For what moves numbers around it is the operation
itself; for sums and maxima, a sum; for products it counts only where the other factor is not known to be zero, so that
nothing gets through a scale or a weight of exactly zero.

A primitive that is not listed spreads from every input to every output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxsparse.tracing.program import Step, names

IDENTITY = names("copy copy_p convert_element_type optimization_barrier reduce_precision stop_gradient")
UNARY = names(
    "abs neg sign floor ceil round is_finite not exp exp2 expm1 log log1p sqrt rsqrt cbrt square integer_pow logistic "
    "tanh sin cos tan asin acos atan sinh cosh asinh acosh atanh erf erfc erf_inv lgamma digamma"
)
BINARY = names("add sub mul div rem pow max min atan2 nextafter add_any and or xor eq ne lt le gt ge clamp select_n")
ELEMENTWISE = IDENTITY | UNARY | BINARY
MOVING = names("reshape transpose squeeze expand_dims rev slice broadcast_in_dim")
"""One array in, its numbers elsewhere out."""
REDUCTIONS = names("reduce_sum reduce_max reduce_min reduce_prod reduce_and reduce_or argmax argmin")
WINDOWS = names("reduce_window_sum reduce_window_max reduce_window_min")
CONTRACTIONS = names("dot_general conv_general_dilated")
OTHERS = names("concatenate pad split dynamic_slice iota")
READING = CONTRACTIONS | names("gather")
"""Steps that read what others put out: products, and embeddings that look rows up."""
KNOWN = ELEMENTWISE | MOVING | REDUCTIONS | WINDOWS | READING | OTHERS

LINEAR = names("add sub add_any neg mul div select_n reduce_sum reduce_window_sum concatenate pad split")
LINEAR |= IDENTITY | MOVING | CONTRACTIONS
"""Steps that are linear in one input while the others are fixed."""


def contract(step: Step, a: jax.Array, b: jax.Array) -> jax.Array:
    """The step's product of other arrays of the same shapes, in their own type."""
    params = {**step.params, "preferred_element_type": None}
    return step.primitive.bind(a, b, **params)


def spread(
    step: Step, marks: Sequence[Any], nonzero: Sequence[Any], values: Sequence[Any], fixed: Sequence[bool]
) -> list[Any]:
    """Marks of a step's outputs; linear in `marks`.

    Args:
      marks: of its inputs (at least one), floats of their shapes.
      nonzero: 1 where an input may be other than zero.
      values: of the inputs, for predicates and indices.
      fixed: which inputs are the same whatever the model is given.
    """
    name, params = step.name, step.params
    first = marks[0]
    if name == "optimization_barrier":
        return list(marks)
    if name == "mul":
        return [marks[0] * nonzero[1] + nonzero[0] * marks[1]]
    if name == "div":
        return [marks[0] + nonzero[0] * marks[1]]
    if name in CONTRACTIONS:  # the most expensive steps: what is fixed has no marks to spread
        pairs = [(first, nonzero[1]), (nonzero[0], marks[1])]
        return [sum(contract(step, *pair) for pair, still in zip(pairs, fixed, strict=True) if not still)]
    if name == "select_n" and fixed[0]:
        chosen = lax.select_n(values[0], *marks[1:])
        return [chosen + jnp.broadcast_to(first, chosen.shape)]
    if name in ELEMENTWISE:
        shape = jnp.broadcast_shapes(*(mark.shape for mark in marks))
        return [sum(jnp.broadcast_to(mark, shape) for mark in marks)]
    if name in MOVING or name in ("concatenate", "split"):
        return step(*marks)
    if name == "pad":
        return step(first, jnp.zeros((), first.dtype))
    if name in REDUCTIONS:
        return [first.sum(params["axes"])]
    if name in WINDOWS:
        return [lax.reduce_window(first, 0.0, lax.add, **_window(params))]
    if name == "gather":
        rows = looked_up(step, first.shape)
        if rows is not None and fixed[1]:
            return step(first, values[1])
        if rows is not None:
            shape = jax.eval_shape(lambda *arrays: step(*arrays), *values)[0].shape
            row = first.sum(rows) + nonzero[0].sum(rows) * marks[1].sum()
            places = dict(zip(params["dimension_numbers"].offset_dims, row.shape, strict=True))
            return [jnp.broadcast_to(row.reshape([places.get(axis, 1) for axis in range(len(shape))]), shape)]
    if name == "dynamic_slice" and all(fixed[1:]):
        return step(first, *values[1:])
    shapes = [aval.shape for aval in jax.eval_shape(lambda *arrays: step(*arrays), *values)]
    total = sum((mark.sum() for mark in marks), jnp.zeros((), jnp.float32))
    return [jnp.broadcast_to(total, shape) for shape in shapes]


def looked_up(step: Step, shape: Sequence[int]) -> int | None:
    """The axis of an array along which a gather picks whole rows (an embedding's, or pixels where an image is resized);
    None where it does something else."""
    numbers, sizes = step.params["dimension_numbers"], step.params["slice_sizes"]
    collapsed = numbers.collapsed_slice_dims
    if len(collapsed) != 1 or numbers.start_index_map != collapsed or numbers.operand_batching_dims:
        return None
    (rows,) = collapsed
    whole = all(sizes[axis] == length for axis, length in enumerate(shape) if axis != rows)
    return rows if whole else None


def _window(params: dict[str, Any]) -> dict[str, Any]:
    return {
        "window_dimensions": params["window_dimensions"],
        "window_strides": params["window_strides"],
        "padding": params["padding"],
        "base_dilation": params["base_dilation"],
        "window_dilation": params["window_dilation"],
    }


def contracted(step: Step, shape: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs (axis of the first input, axis of the second) that a product sums over, kernel windows not counted.

    Args:
      shape: of the first input. Where each channel of an image is by itself (depthwise), nothing is summed over.
    """
    if step.name == "dot_general":
        (first, second), _ = step.params["dimension_numbers"]
        return list(zip(first, second, strict=True))
    if step.name == "conv_general_dilated":
        numbers, groups = step.params["dimension_numbers"], step.params["feature_group_count"]
        if groups == 1 or groups < shape[numbers.lhs_spec[1]]:
            return [(numbers.lhs_spec[1], numbers.rhs_spec[1])]
    return []
