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
    """A network that was pruned.

    Example:
      Without any weight left, a network gives every input the same class, here the right one for every second:

      >>> import jax
      >>> import jaxsparse as js
      >>> from flax import nnx
      >>> x, y = jax.numpy.eye(2), jax.numpy.arange(2)
      >>> mine = js.data.arrays((x, y), test=(x, y), name="mine")
      >>> model, run = js.models.MLP(2, shape=(2,), widths=(4,), rngs=nnx.Rngs(0)), js.Run(mine, widths=(4,), batch=2)
      >>> model.eval()
      >>> plan, tuning = ((0, 1.0),), js.pruning.FineTuning("sgd", 0.1, epochs=2)
      >>> given = model, run, js.data.load(mine), jax.random.key(0)
      >>> outcome = js.pruning.prune(*given, js.pruning.magnitude, plan, tuning)
      >>> js.pruning.share_pruned(outcome.masks, js.pruning.kernels), outcome.test_error[1:]
      (1.0, (50.0, 50.0))
    """

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
    evaluation mode.

    Example:
      A network is trained to tell two inputs apart; half of its weights are enough:

      >>> import jax
      >>> import jaxsparse as js
      >>> x, y = jax.numpy.eye(2), jax.numpy.arange(2)
      >>> mine = js.data.arrays((x, y), test=(x, y), name="mine")
      >>> run = js.Run(mine, widths=(16,), batch=2, epochs=40, measure_every=40)
      >>> training, key, data = js.make_train(run), jax.random.key(0), js.data.load(mine)
      >>> state, _ = training(js.Hyper(0.01), key, data)
      >>> model = training.model(state.params, state.stats)
      >>> model.eval()
      >>> tuning = js.pruning.FineTuning("adam", 0.01, epochs=20)
      >>> outcome = js.pruning.prune(model, run, data, key, js.pruning.magnitude, ((0, 0.5),), tuning)
      >>> outcome.test_error  # before, pruned, trained on
      (0.0, 0.0, 0.0)
    """
    last = ((0, plan[-1][1]),)
    at_once, _ = fine_tune(model, run, data, key, method, last, replace(tuning, epochs=0))
    tuned, masks = fine_tune(model, run, data, key, method, plan, tuning)
    before, pruned, after = (
        float(_test_error(graph, beside(data, state), data)) for graph, state in map(nnx.split, (model, at_once, tuned))
    )
    return Outcome(tuned, masks, (before, pruned, after))
