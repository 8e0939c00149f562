"""Training a pruned network on, by the project's own training, with its masks held."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

import jax
from flax import nnx

from jaxsparse.config import Hyper, Run
from jaxsparse.data import Dataset
from jaxsparse.pruning.comparing import Sparsity
from jaxsparse.pruning.enforcing import enforce
from jaxsparse.pruning.masks import apply, both
from jaxsparse.pruning.schedules import Plan
from jaxsparse.train import make_train, steps_per_epoch
from jaxsparse.trees import Tree

Method: TypeAlias = Callable[[Tree, Sparsity], Tree]
"""From parameters and how much to prune to masks, such as `magnitude`."""


@dataclass(frozen=True)
class FineTuning:
    """How a network is trained on after pruning."""

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
        """The static settings of the fine-tuning of a run: same data, batch and convention, no milestones.

        Raises:
          InvalidInput: for less than one epoch.
        """
        return replace(
            run,
            optimizer=self.optimizer,
            regularizer=self.regularizer,
            nesterov=self.nesterov,
            epochs=self.epochs,
            milestones=(),
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


def fine_tune(
    model: nnx.Module, run: Run, data: Dataset, key: jax.Array, method: Method, plan: Plan, tuning: FineTuning
) -> tuple[Any, Tree]:
    """Prunes a network as planned, and trains it on in between and afterwards.

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
    """
    model = nnx.clone(model)
    model.train()
    graph, params, stats = nnx.split(model, nnx.Param, ...)
    params, stats = nnx.as_pure(params), nnx.as_pure(stats)
    masks = method(params, plan[0][1])
    if tuning.epochs:
        settings = tuning.run(run)
        training = make_train(settings)
        every = 1 if tuning.mask_every_step else steps_per_epoch(settings, training.description)
        training = replace(training, graph=graph, wrap=partial(enforce, masks=masks, every=every))
        advance, planned = jax.jit(training.advance, donate_argnums=3), dict(plan)
        state = jax.jit(training.init)(tuning.hyper, apply(params, masks), stats)
        for epoch in range(tuning.epochs):
            if epoch in planned and epoch > 0:
                masks = both(state.optimizer.masks, method(state.params, planned[epoch]))
                optimizer = state.optimizer._replace(masks=masks)
                state = replace(state, params=apply(state.params, masks), optimizer=optimizer)
            state, _ = advance(tuning.hyper, key, data, state)
        params, stats, masks = state.params, state.stats, state.optimizer.masks
    tuned: Any = nnx.merge(graph, apply(params, masks), stats, copy=True)
    tuned.eval()
    return tuned, masks
