"""What every regularizer is, where it acts, and what its numbers may be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from jaxsparse.checks import require
from jaxsparse.trees import Kind, Mask, Tree, matched, of_kind

Scalar: TypeAlias = float | jax.Array
"""A float or a scalar array, traced or not."""

LearningRate: TypeAlias = Scalar | optax.Schedule
"""A constant, or a function from the number of steps done (0 in the first step) to the learning rate."""


class Range(NamedTuple):
    """Allowed values of a finite number: how to say them, and how to test them."""

    text: str
    contains: Callable[[np.ndarray], np.ndarray]


FINITE = Range("finite", np.isfinite)
POSITIVE = Range("finite and > 0", lambda x: x > 0)
NON_NEGATIVE = Range("finite and >= 0", lambda x: x >= 0)
FRACTION = Range("in [0, 1)", lambda x: (x >= 0) & (x < 1))


def check_range(field: str, value: Any, allowed: Range) -> None:
    """Raises ValueError, in one line, if a concrete number (or one of an array) is outside the allowed range.

    A traced value passes, and so does what is no number: JAX rebuilds pytrees with placeholders for leaves.
    """
    if isinstance(value, Tracer) or not isinstance(value, float | int | np.ndarray | np.number | jax.Array):
        return
    number = np.asarray(value)
    require(bool(np.all(np.isfinite(number) & allowed.contains(number))), field, value, allowed.text)


Chain: TypeAlias = Sequence[optax.GradientTransformation]
"""What is done to gradients one after another."""


class Regularizer:
    """What pulls weights towards zero. One of your own is a `Penalty`, or `Decoupled`, with a `transformation`."""

    @property
    def name(self) -> str:
        """What records call it."""
        return type(self).__name__

    def around(
        self, chain: Chain, learning_rate: LearningRate | None, mask: Mask | None
    ) -> optax.GradientTransformation:
        """An optimizer with the regularizer; `mask` chooses the parameters (default: all)."""
        raise NotImplementedError


class Decoupled(Regularizer):
    """What acts after the optimizer's step, and needs its learning rate: `transformation(learning_rate, mask)` is an
    optax transformation that gets what the optimizer would add to the weights, and the weights.

    Example:
      One of your own, after every step all weights into [-1, 1]:

      >>> from dataclasses import dataclass
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import jaxsparse as js
      >>> @jax.tree_util.register_dataclass
      ... @dataclass(frozen=True)
      ... class Clipped(js.regularizers.Decoupled):
      ...     def transformation(self, learning_rate, mask=None):
      ...         clip = lambda u, w: jnp.clip(w + u, -1.0, 1.0) - w
      ...         return optax.stateless(lambda updates, params: jax.tree.map(clip, updates, params))
      >>> tx = js.sgd(1.0, regularizer=Clipped())
      >>> w = jnp.array([0.5])
      >>> updates, state = tx.update(jnp.array([-3.0]), tx.init(w), w)
      >>> print(w + updates)
      [1.]
    """

    def transformation(self, learning_rate: LearningRate, mask: Mask | None = None) -> optax.GradientTransformation:
        """What comes last, after the scaling by the learning rate; `mask` chooses the parameters (default: all)."""
        raise NotImplementedError

    def around(
        self, chain: Chain, learning_rate: LearningRate | None, mask: Mask | None
    ) -> optax.GradientTransformation:
        """An optimizer, and the regularizer after it."""
        assert learning_rate is not None
        return optax.chain(*chain, self.transformation(learning_rate, mask))


@dataclass(frozen=True)
class WithStrength(Regularizer):
    """One whose strength may be any number that is not negative."""

    strength: Scalar

    def __post_init__(self) -> None:
        check_range("strength", self.strength, NON_NEGATIVE)


@dataclass(frozen=True)
class DecoupledPenalty(WithStrength, Decoupled):
    """A pull of the strength times the learning rate of the step.

    Attributes:
      strength: lambda, finite and >= 0; a scalar.

    Raises:
      ValueError: if a concrete strength is out of range.
    """

    def rate(self, learning_rate: LearningRate, count: int | jax.Array) -> Scalar:
        """The pull of the step after `count` others; a scalar."""
        return self.strength * (jnp.asarray(learning_rate(count)) if callable(learning_rate) else learning_rate)


@dataclass(frozen=True)
class Penalty(WithStrength):
    """A term `strength * penalty(theta)` of what is minimised: `transformation(mask)` is an optax transformation that
    adds its gradient to that of the loss.

    Attributes:
      strength: lambda, finite and >= 0; a scalar.

    Raises:
      ValueError: if a concrete strength is out of range.

    Example:
      One of your own, L1 on everything:

      >>> from dataclasses import dataclass
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import jaxsparse as js
      >>> @jax.tree_util.register_dataclass
      ... @dataclass(frozen=True)
      ... class L1(js.regularizers.Penalty):
      ...     def transformation(self, mask=None):
      ...         add = lambda g, w: g + self.strength * jnp.sign(w)
      ...         return optax.stateless(lambda updates, params: jax.tree.map(add, updates, params))
      >>> tx = js.sgd(0.1, regularizer=L1(0.5))
      >>> w = jnp.array([2.0, -2.0])
      >>> updates, state = tx.update(jnp.zeros(2), tx.init(w), w)
      >>> [round(float(update), 3) for update in updates]
      [-0.05, 0.05]
    """

    def transformation(self, mask: Mask | None = None) -> optax.GradientTransformation:
        """What comes before the preconditioner; `mask` chooses the parameters (default: all)."""
        raise NotImplementedError

    def around(
        self, chain: Chain, learning_rate: LearningRate | None, mask: Mask | None
    ) -> optax.GradientTransformation:
        """An optimizer, and the regularizer before it."""
        del learning_rate
        return optax.chain(self.transformation(mask), *chain)


def given(params: Tree) -> Tree:
    if params is None:
        raise ValueError("params must be passed to update: a regularizer acts on the weights")
    return params


def masked(transformation: optax.GradientTransformation, mask: Mask | None) -> optax.GradientTransformation:
    return transformation if mask is None else optax.masked(transformation, matched(mask))


def add_to(kind: Kind, gradient: Callable[[jax.Array], jax.Array], mask: Mask | None) -> optax.GradientTransformation:
    """Adds the gradient of a penalty to the updates of one kind of parameter."""
    chosen = of_kind(kind)

    def init_fn(params: Tree) -> optax.OptState:
        require_any(kind, params)
        return optax.EmptyState()

    def update_fn(updates: Tree, state: optax.OptState, params: Tree = None) -> tuple[Tree, optax.OptState]:
        params = given(params)
        return jax.tree.map(lambda on, g, w: g + gradient(w) if on else g, chosen(params), updates, params), state

    return masked(optax.GradientTransformation(init_fn, update_fn), mask)


def require_any(kind: Kind, params: Tree) -> None:
    present = any(jax.tree.leaves(of_kind(kind)(params)))
    require(present, "regularized parameters", "none", f"at least one {kind}, all that this penalty acts on")


def after_step(
    change: Callable[[Tree, Tree, jax.Array], Tree], kind: Kind | None = None
) -> optax.GradientTransformation:
    """Changes what the optimizer would add to the weights, by them and the number of steps before this one; `kind`: of
    which there must be one."""

    def init_fn(params: Tree) -> optax.OptState:
        if kind is not None:
            require_any(kind, params)
        return optax.ScaleByScheduleState(count=jnp.zeros([], jnp.int32))

    def update_fn(updates: Tree, state: Any, params: Tree = None) -> tuple[Tree, optax.OptState]:
        updates = change(updates, given(params), state.count)
        return updates, optax.ScaleByScheduleState(count=optax.safe_increment(state.count))

    return optax.GradientTransformation(init_fn, update_fn)
