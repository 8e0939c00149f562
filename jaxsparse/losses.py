"""What is minimised and what is counted: cross-entropy and test errors."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.tree_util import Partial

from jaxsparse.data import Dataset, Seen, Split, Stream, Streamed, preprocess, seen_in


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean softmax cross-entropy in nats of logits `[n, classes]` and labels `[n]`.

    With one-hot labels: the gradient with integer ones scatters, which is slow on a CPU.
    """
    return optax.softmax_cross_entropy(logits, jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)).mean()


class Evaluation(NamedTuple):
    """How good a network is; scalars."""

    loss: jax.Array
    """mean cross-entropy in nats"""
    error: jax.Array
    """percent of the images whose label is not the largest logit"""
    error_top5: jax.Array
    """percent of the images whose label is not among the five largest logits; 0 where there are at most five classes"""


def _look(graph: nnx.GraphDef, state: Any, data: Dataset | Stream, batch: Split, real: jax.Array) -> Seen:
    model: Any = nnx.merge(graph, state, copy=True)
    logits, labels = model(preprocess(data, batch.images)), batch.labels
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    wrong = logits.argmax(-1) != labels
    _, five = jax.lax.top_k(logits, min(5, logits.shape[-1]))
    far = (five != labels[:, None]).all(-1)
    return Seen(sums=(jnp.where(real, losses, 0.0).sum(), (wrong & real).sum(), (far & real).sum()))


def evaluate(model: nnx.Module, data: Dataset | Stream, split: Split | Streamed) -> Evaluation:
    """How good a model (in evaluation mode) is on a split of a data set; traceable where that is on the device."""
    graph, state = nnx.split(model)
    losses, wrong, far = seen_in(split, Partial(_look, graph, state, data)).sums
    return Evaluation(losses / len(split), 100.0 * wrong / len(split), 100.0 * far / len(split))
