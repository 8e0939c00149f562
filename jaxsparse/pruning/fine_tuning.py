"""Training a pruned network on, by the project's own training, with its masks held."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx

from jaxsparse.config import Hyper, Run
from jaxsparse.data import Dataset
from jaxsparse.pruning.comparing import Sparsity
from jaxsparse.pruning.enforcing import enforce
from jaxsparse.pruning.masks import apply, both, require_masks
from jaxsparse.pruning.schedules import Plan
from jaxsparse.train import State, Training, make_train, steps_per_epoch
from jaxsparse.trees import Tree

Method: TypeAlias = Callable[[Tree, Sparsity], Tree]
"""From parameters and how much to prune to masks, such as `magnitude`."""


@dataclass(frozen=True)
class FineTuning:
    """How a network is trained on after pruning.

    Example:
      >>> import jaxsparse as js
      >>> tuning = js.pruning.FineTuning("adam", 1e-4, "l2", 1e-5, epochs=5)
      >>> settings = tuning.run(js.Run(optimizer="sgd", batch=32))
      >>> settings.optimizer, settings.regularizer, settings.batch
      ('adam', 'l2', 32)
    """

    optimizer: str
    learning_rate: float
    regularizer: str = "none"
    strength: float = 0.0
    epochs: int = 20
    constants: Mapping[str, float] = field(default_factory=dict)
    """the update rule's own hyperparameters"""
    nesterov: bool = False
    mask_every_step: bool = True
    """if not, masks hold at the end of each epoch only"""

    def run(self, run: Run) -> Run:
        """The static settings of an epoch of the fine-tuning of a run: same data, batch and convention, no milestones.

        How many epochs there are is not among them: they share a compilation, whatever their number.
        """
        return replace(
            run,
            optimizer=self.optimizer,
            regularizer=self.regularizer,
            nesterov=self.nesterov,
            epochs=1,
            milestones=(),
            restarts=0,
            thresholding="none",
            measure_every=1,
            shrink_every=0,
        )

    @property
    def hyper(self) -> Hyper:
        """The numbers among the settings."""
        return Hyper(self.learning_rate, self.strength, self.constants)


BATRA_2024 = FineTuning("sgd", 1e-6, "l2", 1e-8, epochs=20, mask_every_step=False)
"""Batra et al. 2024, implementation details: mini-batch gradient descent for 20 epochs at 1e-6 with a decay of 1e-8,
the masks applied at the end of each epoch. Not stated: the batch (that of the run), momentum (none), and whether the
decay is coupled (which makes no difference to plain gradient descent)."""


def continued(run: Run, settings: Mapping[str, Any], epochs: int = 20) -> FineTuning:
    """Training on as a run ended: with its optimizer, regularizer and last learning rate.

    Args:
      run: the run's settings.
      settings: the others, as in its record: `regularizer`, `strength`, `learning_rate`, `constants`.
      epochs: >= 0.

    Example:
      >>> import jaxsparse as js
      >>> run = js.Run(optimizer="adam", epochs=100, measure_every=50, milestones=(30, 60), factor=0.1)
      >>> settings = {"regularizer": "l2", "strength": 1e-4, "learning_rate": 1e-3, "constants": {"b2": 0.99}}
      >>> tuning = js.pruning.continued(run, settings, epochs=5)
      >>> tuning.optimizer, round(tuning.learning_rate, 9), tuning.strength, tuning.constants  # after two milestones
      ('adam', 1e-05, 0.0001, {'b2': 0.99})
    """
    none = settings["regularizer"] == "none"
    return FineTuning(
        run.optimizer,
        settings["learning_rate"] * run.factor ** len(run.milestones),
        "l2" if none else settings["regularizer"],
        0.0 if none else settings["strength"],
        epochs,
        settings["constants"],
        run.nesterov,
    )


def beside(data: Dataset, tree: Tree) -> Tree:
    """The arrays on the device of the data. (Those that may be anywhere have everything compiled once more.)"""
    return jax.device_put(tree, jnp.asarray(data.train.labels).sharding)


def _training(run: Run, graph: nnx.GraphDef, every: int, masks: Tree) -> Training:
    return replace(make_train(run), graph=graph, wrap=partial(enforce, masks=masks, every=every))


@partial(jax.jit, static_argnames=("run", "graph", "every"))
def _init(run: Run, graph: nnx.GraphDef, every: int, hyper: Hyper, params: Tree, stats: Tree, masks: Tree) -> State:
    return _training(run, graph, every, masks).init(hyper, params, stats)


@partial(jax.jit, static_argnames=("run", "graph", "every"), donate_argnames="state")
def _epoch(
    run: Run, graph: nnx.GraphDef, every: int, hyper: Hyper, key: jax.Array, data: Dataset, state: State
) -> State:
    """An epoch of fine-tuning. Masks, weights, learning rate and data are arguments: JAX compiles it once for each
    network and form of update rule, and every method, sparsity and seed shares that."""
    return _training(run, graph, every, state.optimizer.masks).advance(hyper, key, data, state)[0]


def fine_tune(
    model: nnx.Module, run: Run, data: Dataset, key: jax.Array, method: Method, plan: Plan, tuning: FineTuning
) -> tuple[Any, Tree]:
    """Prunes a network as planned, and trains it on in between and afterwards.

    What is compiled depends on the network and on the kinds of optimizer and regularizer alone, so that further calls
    with other methods, sparsities, seeds and learning rates cost no compilation. It runs where `data` are committed to
    (`jax.device_put(data, device)`), so that threads can prune at once, on one device or several.

    Args:
      model: of the class of the run's; left as it is.
      run: the settings that it was trained with.
      data: to train on.
      key: of the order and flips of the images.
      method: what to prune. What is pruned stays so: later masks keep a subset of the earlier ones.
      plan: when to prune how much; see `jaxsparse.pruning.schedules`.
      tuning: how to train.

    Returns:
      The pruned network in evaluation mode, and the masks of its parameters. Every pruned parameter is exactly zero.

    Raises:
      InvalidInput: where the masks that the method gives are not of this network's parameters.

    Example:
      >>> import jax
      >>> import jaxsparse as js
      >>> from flax import nnx
      >>> x, y = jax.numpy.eye(4), jax.numpy.array([0, 0, 1, 1])
      >>> mine = js.data.arrays((x, y), test=(x, y), name="mine")
      >>> model, run = js.models.MLP(2, shape=(4,), widths=(8,), rngs=nnx.Rngs(0)), js.Run(mine, widths=(8,), batch=4)
      >>> plan, tuning = ((0, 0.5), (1, 0.75)), js.pruning.FineTuning("sgd", 0.1, epochs=2)
      >>> tuned, masks = js.pruning.fine_tune(
      ...     model, run, js.data.load(mine), jax.random.key(0), js.pruning.magnitude, plan, tuning
      ... )
      >>> sum(int((layer.kernel[...] == 0).sum()) for layer in (tuned.hidden[0].linear, tuned.head))  # of 4 * 8 + 8 * 2
      36
    """
    model = nnx.clone(model)
    model.train()
    graph, params, stats = nnx.split(model, nnx.Param, ...)
    params, stats = beside(data, (nnx.as_pure(params), nnx.as_pure(stats)))
    masks = method(params, plan[0][1])
    require_masks(params, masks)
    if tuning.epochs:
        settings = tuning.run(run)
        every = 1 if tuning.mask_every_step else steps_per_epoch(settings, data.description)
        compiled, planned = (settings, graph, every, tuning.hyper), dict(plan)
        state = _init(*compiled, apply(params, masks), stats, masks)
        for epoch in range(tuning.epochs):
            if epoch in planned and epoch > 0:
                masks = both(state.optimizer.masks, method(state.params, planned[epoch]))
                optimizer = state.optimizer._replace(masks=masks)
                state = replace(state, params=apply(state.params, masks), optimizer=optimizer)
            state = jax.block_until_ready(_epoch(*compiled, key, data, state))  # queued, it would hold up other threads
        params, stats, masks = state.params, state.stats, state.optimizer.masks
    tuned: Any = nnx.merge(graph, apply(params, masks), stats, copy=True)
    tuned.eval()
    return tuned, masks
