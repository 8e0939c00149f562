"""What is minimised and what is counted, for labels and for real targets."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.tree_util import Partial

from jaxsparse.data import Dataset, Description, Seen, Split, Stream, Streamed, preprocess, seen_in

Loss = Callable[[Any, Any], Any]
"""Of outputs and targets `[n, ..]`: a value for each, or for each part of each, as those of `optax.losses`."""


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean softmax cross-entropy in nats of logits `[n, .., classes]` and labels `[n, ..]`.

    With one-hot labels: the gradient with integer ones scatters, which is slow on a CPU.
    """
    return optax.softmax_cross_entropy(logits, jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)).mean()


def _of_labels(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def _of_real(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    return (outputs - targets) ** 2


def each(loss: Loss | None, description: Description) -> Loss:
    """The loss for every example: the given one, else cross-entropy of labels and the squared error of real targets.

    An output `[n, 1]` stands for `[n]` where the targets have no more axes.
    """
    found = loss or (_of_real if description.real else _of_labels)
    return lambda outputs, targets: found(_like(outputs, targets, description), targets)


def mean(loss: Loss | None, description: Description) -> Loss:
    """The mean of `each` over a batch, a scalar: what is minimised."""
    if loss is None and not description.real:
        return cross_entropy
    own = each(loss, description)
    return lambda outputs, targets: own(outputs, targets).mean()


def _like(outputs: jax.Array, targets: jax.Array, description: Description) -> jax.Array:
    single = outputs.ndim == targets.ndim + 1 and outputs.shape[-1] == 1
    return outputs[..., 0] if single and (description.real or description.classes <= 2) else outputs


class Evaluation(NamedTuple):
    """How good a network is; scalars."""

    loss: jax.Array
    """mean: of cross-entropy in nats"""
    error: jax.Array
    """percent of the labels that are not those of the largest logit (of a single one: not on its side of zero); of real
    targets the percent of their variance that is not explained, `100 * mean((output - target)^2) / var(target)`"""
    error_top5: jax.Array
    """percent of the labels that are not among the five largest logits; 0 where there are at most five classes"""


@lru_cache(maxsize=64)
def _looking(loss: Loss | None) -> Callable[..., Seen]:
    """One function for the same loss, so that it is compiled once."""

    def look(graph: nnx.GraphDef, state: Any, data: Dataset | Stream, batch: Split, real: jax.Array) -> Seen:
        model: Any = nnx.merge(graph, state, copy=True)
        outputs, targets = model(preprocess(data, batch.images)), batch.labels
        losses = each(loss, data.description)(outputs, targets)
        outputs = _like(outputs, targets, data.description)
        if data.description.real:
            wrong, far = (outputs - targets) ** 2, jnp.zeros(targets.shape[:1], bool)
        elif outputs.ndim == targets.ndim:
            wrong, far = (outputs > 0) != targets, jnp.zeros(targets.shape[:1], bool)
        else:
            _, five = jax.lax.top_k(outputs, min(5, outputs.shape[-1]))
            wrong, far = outputs.argmax(-1) != targets, (five != targets[..., None]).all(-1)
        return Seen(sums=tuple(_summed(values, real) for values in (losses, wrong, far)))

    return look


def _summed(values: jax.Array, real: jax.Array) -> jax.Array:
    """Over the examples that are real; of each the mean over its parts."""
    if values.ndim > 1:
        values = values.reshape(len(real), -1).mean(-1, dtype=jnp.float32)
    return jnp.where(real, values, jnp.zeros((), values.dtype)).sum()


def evaluate(
    model: nnx.Module, data: Dataset | Stream, split: Split | Streamed, loss: Loss | None = None
) -> Evaluation:
    """How good a model (in evaluation mode) is on a split of a data set; traceable where that is on the device."""
    graph, state = nnx.split(model)
    losses, wrong, far = seen_in(split, Partial(_looking(loss), graph, state, data)).sums
    whole = len(split) * _variance(split) if data.description.real and isinstance(split, Split) else len(split)
    return Evaluation(losses / len(split), 100.0 * wrong / whole, 100.0 * far / len(split))


def _variance(split: Split) -> jax.Array:
    """Of the targets, over the examples: the mean over their parts."""
    return split.labels.var(0).mean()
