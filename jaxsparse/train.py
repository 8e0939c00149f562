"""Training as a pure function: `make_train(run, measure)` gives `train(hyper, key, data)`.

The network is split once into a static graph and pytrees of parameters and statistics; a step is one gradient of the
loss and one update of the rule; an epoch is one `lax.scan` over its steps, and an interval between two measurements one
scan over its epochs. Nothing in it knows about cells, devices or files, so it can be jitted, mapped over cells and
sharded over devices as it is.

The parts of a `Training` compile separately: `start` and `measured` depend on the network alone and serve every
optimizer, `advance` is compiled for each.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.tree_util import Partial

from jaxsparse import losses, models, regularizers, rules, schedules
from jaxsparse.checks import InvalidInput, name_of, require
from jaxsparse.config import Hyper, Run
from jaxsparse.data import (
    Dataset,
    Description,
    Seen,
    Split,
    Stream,
    describe,
    preprocess,
    require_pixels,
    seen_in,
    shuffled,
)
from jaxsparse.losses import evaluate
from jaxsparse.thresholding import BOUND_RATES, NONE, Bounds, Thresholding, apply, observe, thresholding
from jaxsparse.trees import Kind, Mask, Tree, choice, flatten, kinds, of_kind

Measure = Callable[[nnx.Module, Dataset | Stream], Tree]
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
    bounds: Bounds = field(default_factory=dict)
    """of the weights that become zero below one; none without thresholding"""
    bound_optimizer: Tree = ()

    @property
    def evaluated(self) -> Tree:
        """Parameters that the network is evaluated and kept with: under Schedule-Free the averages, at the statistics
        of the weights that gradients are taken at."""
        return rules.evaluated(self.optimizer, self.params)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Row:
    """What an interval of `measure_every` epochs shows."""

    train_loss: jax.Array
    """`[measure_every]`: mean over the steps of each epoch, without the regularizer; not finite once diverged"""
    test_loss: jax.Array
    test_error: jax.Array
    """percent"""
    test_error_top5: jax.Array
    """percent: of the images whose label is not among the five largest logits"""
    thresholded: Tree
    """`thresholding.Observation`"""
    measured: Tree


def steps_per_epoch(run: Run, description: Description) -> int:
    """Full batches in an epoch.

    Raises:
      InvalidInput: for a batch larger than the training set.
    """
    size = description.train_size
    require(run.batch <= size, "batch", run.batch, f"at most the {size} training images of {description.name}")
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
    thresholding: Thresholding = NONE
    """which weights become zero below a bound, and how the bounds come about"""
    place: Callable[[jax.Array], jax.Array] = lambda batch: batch
    """where the images of a batch `[batch, ..]` go, such as a part of them to each of several devices"""
    keys: frozenset[str] = frozenset()
    """names of the statistics that are keys of random numbers, kept as their data"""

    @property
    def _kept(self) -> jnp.dtype:
        """Type of what is kept from step to step."""
        return jnp.promote_types(self.run.precision, jnp.float32)

    def start(self, key: jax.Array) -> tuple[Tree, Tree]:
        """Parameters and statistics of the untrained network. Each use of randomness has a key of its own: weights 0,
        order 1, flips 2, dropout 3."""
        _, params, stats = nnx.split(network(self.run, jax.random.fold_in(key, 0)), nnx.Param, ...)

        def kept(a: jax.Array) -> jax.Array:
            if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):  # of a network that draws in training
                return jax.random.key_data(a)
            return a.astype(self._kept) if jnp.issubdtype(a.dtype, jnp.inexact) else a

        return jax.tree.map(kept, (nnx.as_pure(params), nnx.as_pure(stats)))

    def model(self, params: Tree, stats: Tree) -> Any:
        """The network with these parameters and statistics, in training mode."""
        if self.keys:
            wrapped = [
                jax.random.wrap_key_data(leaf) if name in self.keys else leaf for name, leaf in flatten(stats).items()
            ]
            stats = jax.tree.unflatten(jax.tree.structure(stats), wrapped)
        return nnx.merge(self.graph, params, stats, copy=True)

    def init(self, hyper: Hyper, params: Tree, stats: Tree) -> State:
        """State before the first step."""
        bounds = self.thresholding.start(params, hyper.targets)
        optimizers = self.transformation(hyper).init(params), self._bound_rule(hyper).init(bounds)
        return State(params, stats, optimizers[0], jnp.zeros((), jnp.int32), bounds, optimizers[1])

    def transformation(self, hyper: Hyper) -> optax.GradientTransformation:
        """The update rule of this run, with what is put around it."""
        return self.wrap(self._rule(hyper))

    def schedule(self, hyper: Hyper) -> optax.Schedule:
        """The learning rate by the number of steps done."""
        run, steps = self.run, steps_per_epoch(self.run, self.description)
        if run.restarts:
            return schedules.cosine_restarts(hyper.learning_rate, run.restarts, steps)
        return schedules.step_decay(hyper.learning_rate, run.milestones, run.factor, steps)

    def _bound_rule(self, hyper: Hyper) -> optax.GradientTransformation:
        """The update rule of trained bounds: that of the weights at a learning rate of its own, without regularizer."""
        if not self.thresholding.trained:
            return optax.set_to_zero()
        run, schedule = self.run, self.schedule(hyper)
        rate = BOUND_RATES.get(run.optimizer, 1.0) if run.bound_rate is None else run.bound_rate
        return rules.known(run.optimizer)(
            lambda count: rate * schedule(count),
            regularizer=None,
            convention=run.convention,
            **({"nesterov": True} if run.nesterov else {}),
            **hyper.constants,
        )

    def _rule(self, hyper: Hyper) -> optax.GradientTransformation:
        """The update rule with the given (perhaps traced) hyperparameters.

        With rates of their own, scales and biases of the normalisations are updated as groups beside the rest, each at
        its multiple of the learning rate. That scales AdamW's decay too (`wd-lr`), as it does in PyTorch, but not `wd`,
        whose share `strength * lr_t / lr_0` is the same in all groups.
        """
        run, schedule = self.run, self.schedule(hyper)
        regularizer = regularizers.regularizer(run.regularizer, hyper.strength)
        chosen = choice(run.regularize)
        mask = None if chosen == frozenset(Kind) else of_kind(*chosen)

        def rule(
            rate: float, regularizer: regularizers.Regularizer | None, mask: Mask | None = None
        ) -> optax.GradientTransformation:
            return rules.known(run.optimizer)(
                schedule if rate == 1 else lambda count: rate * schedule(count),
                regularizer=regularizer,
                mask=mask,
                convention=run.convention,
                **({"nesterov": True} if run.nesterov else {}),
                **hyper.constants,
            )

        rates = {Kind.SCALE: run.gamma_rate, Kind.SHIFT: run.beta_rate}
        if set(rates.values()) == {1.0}:
            return rule(1.0, regularizer, mask)

        def grouped(regularizer: regularizers.Regularizer | None) -> optax.GradientTransformation:
            groups: dict[Hashable, optax.GradientTransformation] = {
                kind: rule(rates.get(kind, 1.0), regularizer if kind in chosen else None) for kind in Kind
            }
            return optax.partition(groups, kinds)

        if regularizer is None or isinstance(regularizer, regularizers.DECAYS):
            return grouped(regularizer)
        return regularizer.around((grouped(None),), schedule, mask)  # what acts on one kind wants the whole tree

    def _for_products(self, weights: Tree) -> Tree:
        """Kernels and biases in the type that products are computed in; what normalises stays float32."""
        narrow = of_kind(Kind.KERNEL, Kind.BIAS)(weights)
        return jax.tree.map(lambda a, chosen: a.astype(self.run.precision) if chosen else a, weights, narrow)

    def _fed(self, examples: jax.Array) -> jax.Array:
        """Examples in the type that products are computed in; whole numbers, such as tokens, as they are."""
        real = jnp.issubdtype(examples.dtype, jnp.floating)
        return examples.astype(self.run.precision) if real else examples

    def _stats(self, model: nnx.Module) -> Tree:
        """The statistics of a network after a step."""
        found = nnx.as_pure(nnx.state(model, nnx.Not(nnx.Param)))
        if not self.keys:
            return found
        is_key = lambda a: jnp.issubdtype(a.dtype, jax.dtypes.prng_key)  # noqa: E731
        return jax.tree.map(lambda a: jax.random.key_data(a) if is_key(a) else a, found)

    def step(
        self, hyper: Hyper, key: jax.Array, state: State, images: jax.Array, labels: jax.Array, number: jax.Array
    ) -> tuple[State, jax.Array]:
        """One update on a batch of preprocessed images `[batch, ..]`, the step of the given number in the whole
        training; also gives its loss before the update, without that of the bounds."""
        tx, bound_tx, pruned = self.transformation(hyper), self._bound_rule(hyper), self.thresholding
        dropping = (jax.random.fold_in(jax.random.fold_in(key, 3), number),) if self.run.dropout else ()

        def loss(params: Tree, bounds: Bounds) -> tuple[jax.Array, tuple[jax.Array, Tree]]:
            weights = self._for_products(pruned.weights(params, bounds))
            model = self.model(weights, state.stats)
            logits: jax.Array = model(self._fed(images), *dropping)
            value = losses.mean(self.run.loss, self.description)(logits.astype(self._kept), labels)
            total = value + pruned.loss(bounds, hyper.targets)
            return total, (value, self._stats(model))

        (gradients, pulls), (value, stats) = jax.grad(loss, (0, 1), has_aux=True)(state.params, state.bounds)
        updates, optimizer = tx.update(gradients, state.optimizer, state.params)
        moves, bound_optimizer = bound_tx.update(pulls, state.bound_optimizer, state.bounds)
        params = optax.apply_updates(state.params, updates)
        bounds = pruned.followed(params, optax.apply_updates(state.bounds, moves), hyper.targets)
        return State(params, stats, optimizer, state.epoch, bounds, bound_optimizer), value

    def advance(self, hyper: Hyper, key: jax.Array, data: Dataset, state: State) -> tuple[State, jax.Array]:
        """Trains for `measure_every` epochs; also gives each epoch's mean loss `[measure_every]`."""
        steps, batch = steps_per_epoch(self.run, self.description), self.run.batch
        order_key, flip_key = jax.random.fold_in(key, 1), jax.random.fold_in(key, 2)

        def step(state: State, batch: tuple[jax.Array, jax.Array]) -> tuple[State, jax.Array]:
            index, number = batch
            index = self.place(index)
            images = preprocess(data, data.train.images[index], jax.random.fold_in(flip_key, number))
            return self.step(hyper, key, state, images, data.train.labels[index], number)

        def epoch(state: State, _: None) -> tuple[State, jax.Array]:
            order = shuffled(order_key, state.epoch, len(data.train))[: steps * batch].reshape(steps, batch)
            numbers = state.epoch * steps + jnp.arange(steps)
            state, losses = jax.lax.scan(step, state, (order, numbers))
            return replace(state, epoch=state.epoch + 1), losses.mean()

        return jax.lax.scan(epoch, state, length=self.run.measure_every)

    def measured(self, data: Dataset | Stream, params: Tree, bounds: Bounds, stats: Tree, train_loss: jax.Array) -> Row:
        """The row of an interval that ended with these parameters, bounds and statistics."""
        model = self.model(self.thresholding.weights(params, bounds), stats)
        model.eval()
        slopes = self._task_slopes(data, params, bounds, stats) if self.thresholding.trained else None
        seen = observe(params, bounds, slopes)
        return Row(train_loss, *evaluate(model, data, data.test, self.run.loss), seen, self.measure(model, data))

    def _task_slopes(self, data: Dataset | Stream, params: Tree, bounds: Bounds, stats: Tree) -> Bounds:
        """Slopes of the mean loss on the training images along trained bounds, of the network in evaluation mode."""
        look = Partial(_slopes(self), data, params, bounds, stats)
        return jax.tree.map(lambda total: total / len(data.train), seen_in(data.train, look).sums)

    def __call__(
        self, hyper: Hyper, key: jax.Array, data: Dataset, start: tuple[Tree, Tree] | None = None
    ) -> tuple[State, Row]:
        """The whole training: final state, and the rows stacked along a leading axis `[points]`; from the given
        parameters and statistics, where they are not those of the untrained network."""

        def interval(state: State, _: None) -> tuple[State, Row]:
            state, losses = self.advance(hyper, key, data, state)
            return state, self.measured(data, state.evaluated, state.bounds, state.stats, losses)

        params, stats = self.start(key) if start is None else start
        return jax.lax.scan(interval, self.init(hyper, params, stats), length=self.run.points)


@lru_cache(maxsize=16)
def _slopes(training: Training) -> Callable[..., Seen]:
    """One function for the same training, so that it is compiled once."""

    def look(data: Dataset | Stream, params: Tree, bounds: Bounds, stats: Tree, batch: Split, real: jax.Array) -> Seen:
        """Of some images: slopes of their summed loss along bounds."""

        def loss(bounds: Bounds) -> jax.Array:
            model = training.model(apply(params, bounds), stats)
            model.eval()
            outputs = model(preprocess(data, batch.images))
            values = losses.each(training.run.loss, data.description)(outputs, batch.labels)
            return jnp.sum(jnp.where(real, values, 0.0))

        return Seen(sums=jax.grad(loss)(bounds))

    return look


def network(run: Run, key: jax.Array, widths: tuple[int, ...] | None = None) -> Any:
    """The untrained network of a run; with `widths`, of as many units in each layer, which may be none."""
    description = describe(run.data)
    return models.build(
        run.model,
        shape=description.shape,
        classes=description.classes,
        widths=models.widths_of(run.model, run.width, run.widths) if widths is None else widths,
        head=run.head,
        dropout=run.dropout,
        activation=models.activation_of(run),
        batch_norm=run.batch_norm,
        batch_norm_parts=run.batch_norm_parts,
        kernel_init=models.initialisation_of(run),
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

    Example:
      >>> import jax
      >>> import jaxsparse as js
      >>> x, y = jax.numpy.eye(2), jax.numpy.arange(2)
      >>> mine = js.data.arrays((x, y), test=(x, y), name="mine")
      >>> run = js.Run(mine, widths=(16,), batch=2, epochs=80, measure_every=40)
      >>> state, rows = jax.jit(js.make_train(run))(js.Hyper(0.01), jax.random.key(0), js.data.load(mine))
      >>> print(rows.train_loss.shape, rows.test_error, state.epoch)  # two intervals of 40 epochs
      (2, 40) [0. 0.] 80
    """
    description = describe(run.data)
    steps_per_epoch(run, description)
    require_pixels(run.pixels, description)
    choice(run.regularize)
    models.require_settings(run)
    model = nnx.eval_shape(lambda: network(run, jax.random.key(0)))
    graph, _, stats = nnx.split(model, nnx.Param, ...)
    keys = (n for n, leaf in flatten(stats).items() if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key))
    bounds = thresholding(run, model, description.example)
    _require_outputs(run, description)
    return Training(run, measure, graph, description, thresholding=bounds, keys=frozenset(keys))


def _require_outputs(run: Run, description: Description) -> None:
    """Raises `InvalidInput` unless a network takes the examples, and its outputs fit the targets: what is a person's
    own may be of any shape and type."""
    image = description.dtype == "uint8" and not description.real and not description.target
    if isinstance(run.model, str) and run.loss is None and image:
        return
    target = jax.ShapeDtypeStruct((1, *description.target), jnp.float32 if description.real else jnp.int32)

    def tried(x: Any, target: Any) -> Any:
        model = network(run, jax.random.key(0))
        model.eval()
        return losses.each(run.loss, description)(model(x), target)

    try:
        jax.eval_shape(tried, description.example, target)
    except Exception as error:  # whatever a person's own code raises
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        shapes = f"takes {list(description.example.shape)} and whose outputs fit targets {list(target.shape)}"
        raise InvalidInput(f"model must be one that {shapes}, got {name_of(run.model)}: {reason}") from None
