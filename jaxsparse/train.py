"""Training as a pure function: `make_train(run, measure)` gives `train(hyper, key, data)`.

The network is split once into a static graph and pytrees of parameters and statistics; a step is one gradient of the
loss and one update of the rule; an epoch is one `lax.scan` over its steps, and an interval between two measurements one
scan over its epochs. Nothing in it knows about cells, devices or files, so it can be jitted, mapped over cells and
sharded over devices as it is.

The parts of a `Training` compile separately: `start` and `measured` depend on the network alone and serve every
optimizer, `advance` is compiled for each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jaxsparse import models, optimizers, regularizers, schedules
from jaxsparse.config import Hyper, Run, require
from jaxsparse.data import Dataset, Description, describe, preprocess, shuffled
from jaxsparse.losses import cross_entropy, evaluate
from jaxsparse.trees import Kind, Tree, kinds

Measure = Callable[[nnx.Module, Dataset], Tree]
"""What is measured at the end of an interval: a pytree of arrays from a model (in evaluation mode) and the data."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class State:
    """Everything that changes during training."""

    params: Tree
    stats: Tree
    """running statistics of the normalisations"""
    optimizer: Tree
    epoch: jax.Array
    """finished epochs"""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Row:
    """What an interval of `measure_every` epochs shows."""

    train_loss: jax.Array
    """`[measure_every]`: mean over the steps of each epoch, without the regularizer; not finite once diverged"""
    test_loss: jax.Array
    test_error: jax.Array
    """percent"""
    measured: Tree


def steps_per_epoch(run: Run, description: Description) -> int:
    """Full batches in an epoch.

    Raises:
      InvalidInput: for a batch larger than the training set.
    """
    size = description.train_size
    require(run.batch <= size, "batch", run.batch, f"at most the {size} training images of {run.data}")
    return size // run.batch


@dataclass(frozen=True)
class Training:
    """A run, ready to be compiled; see `make_train`."""

    run: Run
    measure: Measure
    graph: nnx.GraphDef
    description: Description
    wrap: Callable[[optax.GradientTransformation], optax.GradientTransformation] = lambda rule: rule
    """what is put around the update rule, such as one that keeps masks (`jaxsparse.pruning.enforce`)"""

    def start(self, key: jax.Array) -> tuple[Tree, Tree]:
        """Parameters and statistics of the untrained network. Each use of randomness has a key of its own: weights 0,
        order 1, flips 2."""
        _, params, stats = nnx.split(network(self.run, jax.random.fold_in(key, 0)), nnx.Param, ...)
        return nnx.as_pure(params), nnx.as_pure(stats)

    def init(self, hyper: Hyper, params: Tree, stats: Tree) -> State:
        """State before the first step."""
        return State(params, stats, self.transformation(hyper).init(params), jnp.zeros((), jnp.int32))

    def transformation(self, hyper: Hyper) -> optax.GradientTransformation:
        """The update rule of this run, with what is put around it."""
        return self.wrap(self._rule(hyper))

    def _rule(self, hyper: Hyper) -> optax.GradientTransformation:
        """The update rule with the given (perhaps traced) hyperparameters.

        With rates of their own, scales and biases of the normalisations are updated as groups beside the rest, each at
        its multiple of the learning rate. That scales AdamW's decay too (`wd-lr`), as it does in PyTorch, but not `wd`,
        whose share `strength * lr_t / lr_0` is the same in all groups.
        """
        run = self.run
        steps = steps_per_epoch(run, self.description)
        schedule = schedules.step_decay(hyper.learning_rate, run.milestones, run.factor, steps)
        regularizer = regularizers.regularizer(run.regularizer, hyper.strength)

        def rule(rate: float, regularizer: regularizers.Regularizer | None) -> optax.GradientTransformation:
            return optimizers.optimizer(
                run.optimizer,
                schedule if rate == 1 else lambda count: rate * schedule(count),
                regularizer=regularizer,
                convention=run.convention,
                **({"nesterov": True} if run.nesterov else {}),
                **hyper.constants,
            )

        rates = {Kind.SCALE: run.gamma_rate, Kind.SHIFT: run.beta_rate}
        if set(rates.values()) == {1.0}:
            return rule(1.0, regularizer)

        def grouped(regularizer: regularizers.DecoupledDecay | None) -> optax.GradientTransformation:
            return optax.partition({kind: rule(rates.get(kind, 1.0), regularizer) for kind in Kind}, kinds)

        if regularizer is None or isinstance(regularizer, regularizers.DecoupledDecay):
            return grouped(regularizer)
        return optax.chain(regularizer.transformation(), grouped(None))  # a penalty on one kind wants the whole tree

    def advance(self, hyper: Hyper, key: jax.Array, data: Dataset, state: State) -> tuple[State, jax.Array]:
        """Trains for `measure_every` epochs; also gives each epoch's mean loss `[measure_every]`."""
        tx = self.transformation(hyper)
        steps, batch = steps_per_epoch(self.run, self.description), self.run.batch
        order_key, flip_key = jax.random.fold_in(key, 1), jax.random.fold_in(key, 2)

        def loss(params: Tree, stats: Tree, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, Tree]:
            model: Any = nnx.merge(self.graph, params, stats, copy=True)
            value = cross_entropy(model(images), labels)
            return value, nnx.as_pure(nnx.state(model, nnx.Not(nnx.Param)))

        def step(carry: tuple[Tree, Tree, Tree], batch: tuple[jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
            params, stats, optimizer = carry
            index, number = batch
            images = preprocess(data, data.train.images[index], jax.random.fold_in(flip_key, number))
            (value, stats), gradients = jax.value_and_grad(loss, has_aux=True)(
                params, stats, images, data.train.labels[index]
            )
            updates, optimizer = tx.update(gradients, optimizer, params)
            return (optax.apply_updates(params, updates), stats, optimizer), value

        def epoch(state: State, _: None) -> tuple[State, jax.Array]:
            order = shuffled(order_key, state.epoch, len(data.train))[: steps * batch].reshape(steps, batch)
            numbers = state.epoch * steps + jnp.arange(steps)
            carry = (state.params, state.stats, state.optimizer)
            carry, losses = jax.lax.scan(step, carry, (order, numbers))
            return State(carry[0], carry[1], carry[2], state.epoch + 1), losses.mean()

        return jax.lax.scan(epoch, state, length=self.run.measure_every)

    def measured(self, data: Dataset, params: Tree, stats: Tree, train_loss: jax.Array) -> Row:
        """The row of an interval that ended with these parameters and statistics."""
        model: Any = nnx.merge(self.graph, params, stats, copy=True)
        model.eval()
        return Row(train_loss, *evaluate(model, data, data.test), self.measure(model, data))

    def __call__(self, hyper: Hyper, key: jax.Array, data: Dataset) -> tuple[State, Row]:
        """The whole training: final state, and the rows stacked along a leading axis `[points]`."""

        def interval(state: State, _: None) -> tuple[State, Row]:
            state, losses = self.advance(hyper, key, data, state)
            return state, self.measured(data, state.params, state.stats, losses)

        return jax.lax.scan(interval, self.init(hyper, *self.start(key)), length=self.run.points)


def network(run: Run, key: jax.Array, widths: tuple[int, ...] | None = None) -> models.Network:
    """The untrained network of a run; with `widths`, of as many units in each layer, which may be none."""
    description = describe(run.data)
    return models.build(
        run.model,
        shape=description.shape,
        classes=description.classes,
        widths=models.widths_of(run.model, run.width, run.widths) if widths is None else widths,
        head=run.head,
        activation=models.activation_of(run),
        initial_beta=run.initial_beta,
        rngs=nnx.Rngs(key),
    )


def make_train(run: Run, measure: Measure = lambda model, data: None) -> Training:
    """The training of a run as a pure function `train(hyper, key, data) -> (state, rows)`.

    Args:
      run: the static settings.
      measure: what to measure after every `run.measure_every` epochs.

    Returns:
      A `Training`: call it for the whole run, or use its parts to go interval by interval.

    Raises:
      InvalidInput: for an unknown name, or a batch larger than the training set.
    """
    description = describe(run.data)
    steps_per_epoch(run, description)
    graph = nnx.split(nnx.eval_shape(lambda: network(run, jax.random.key(0))), nnx.Param, ...)[0]
    return Training(run, measure, graph, description)
