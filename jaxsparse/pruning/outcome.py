"""A pruning from its start to its end, and what it cost: the test error before, at once, and after fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
from flax import nnx

from jaxsparse.config import Run
from jaxsparse.data import Dataset
from jaxsparse.losses import evaluate
from jaxsparse.pruning.fine_tuning import FineTuning, Method, beside, fine_tune
from jaxsparse.pruning.schedules import Plan
from jaxsparse.trees import Tree


@dataclass(frozen=True)
class Outcome:
    """A network that was pruned."""

    model: Any
    """in evaluation mode; every pruned parameter is exactly zero"""
    masks: Tree
    test_error: tuple[float, float, float]
    """percent: of the given network; pruned at once as much as the plan prunes in the end, without training; at the
    end"""


@partial(jax.jit, static_argnames="graph")
def _test_error(graph: nnx.GraphDef, state: Any, data: Dataset) -> jax.Array:
    return evaluate(nnx.merge(graph, state, copy=True), data, data.test)[1]


def prune(
    model: nnx.Module, run: Run, data: Dataset, key: jax.Array, method: Method, plan: Plan, tuning: FineTuning
) -> Outcome:
    """`fine_tune` with the errors. Arguments and errors raised are those of `fine_tune`; the model has to be in
    evaluation mode."""
    last = ((0, plan[-1][1]),)
    at_once, _ = fine_tune(model, run, data, key, method, last, replace(tuning, epochs=0))
    tuned, masks = fine_tune(model, run, data, key, method, plan, tuning)
    before, pruned, after = (
        float(_test_error(graph, beside(data, state), data)) for graph, state in map(nnx.split, (model, at_once, tuned))
    )
    return Outcome(tuned, masks, (before, pruned, after))
