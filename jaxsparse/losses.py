"""What is minimised and what is counted: cross-entropy and test error."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jaxsparse.data import Dataset, Split, batches_of, preprocess

EVALUATION_BATCH = 500
"""Images evaluated at a time, so that memory does not grow with the data set."""


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean softmax cross-entropy in nats of logits `[n, classes]` and labels `[n]`.

    With one-hot labels: the gradient with integer ones scatters, which is slow on a CPU.
    """
    return optax.softmax_cross_entropy(logits, jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)).mean()


def evaluate(model: Callable[[jax.Array], jax.Array], data: Dataset, split: Split) -> tuple[jax.Array, jax.Array]:
    """Mean cross-entropy in nats and error in percent of a model (in evaluation mode) on a split."""
    batches, real = batches_of(split, min(EVALUATION_BATCH, len(split)))

    def sums(batch: tuple[Split, jax.Array]) -> tuple[jax.Array, jax.Array]:
        (images, labels), counted = (batch[0].images, batch[0].labels), batch[1]
        logits = model(preprocess(data, images))
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        wrong = logits.argmax(-1) != labels
        return jnp.where(counted, losses, 0.0).sum(), (wrong & counted).sum()

    losses, wrong = jax.lax.map(sums, (batches, real))
    return losses.sum() / len(split), 100.0 * wrong.sum() / len(split)
