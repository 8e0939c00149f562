"""What pulls weights towards zero, and where in the update it acts.

Two places, and they differ as soon as the optimizer is adaptive (Loshchilov and Hutter 2019, section 2):

    coupled      gradient + penalty's gradient -> preconditioner -> step        CoupledL2, BatchNormL1, GroupLasso
    decoupled    gradient -> preconditioner -> step -> shrink the weights       DecoupledDecay, CautiousDecay,
                                                                                DecayToStart, ProximalGroupLasso

A coupled penalty is divided by the same running root mean square as the gradient. Where the loss gradient vanishes,
the penalty is normalised by itself, and the weight moves by about the learning rate in every step however weak the
penalty is. Decoupled decay knows no such effect.

Every regularizer is a frozen dataclass and a JAX pytree: `strength` may be a float, a traced scalar, or an array that
`jax.vmap` maps over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from jaxsparse.checks import require, require_choice
from jaxsparse.trees import Kind, Mask, Tree, matched, of_kind

Scalar: TypeAlias = float | jax.Array
"""A float or a scalar array, traced or not."""

LearningRate: TypeAlias = Scalar | optax.Schedule
"""A constant, or a function from the number of steps done (0 in the first step) to the learning rate."""

DecayScale: TypeAlias = Literal["schedule", "learning_rate"]


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


class Regularizer:
    """What pulls weights towards zero. One of your own is a `Penalty`, or `Decoupled`, with a `transformation`."""

    @property
    def name(self) -> str:
        """What records call it."""
        return type(self).__name__


class Decoupled(Regularizer):
    """What acts after the optimizer's step, and needs its learning rate: `transformation(learning_rate, mask)` is an
    optax transformation that gets what the optimizer would add to the weights, and the weights."""

    def transformation(self, learning_rate: LearningRate, mask: Mask | None = None) -> optax.GradientTransformation:
        """What comes last, after the scaling by the learning rate; `mask` chooses the parameters (default: all)."""
        raise NotImplementedError


@dataclass(frozen=True)
class Penalty(Regularizer):
    """A term `strength * penalty(theta)` of what is minimised: `transformation(mask)` is an optax transformation that
    adds its gradient to that of the loss.

    Attributes:
      strength: lambda, finite and >= 0; a scalar.

    Raises:
      ValueError: if a concrete strength is out of range.
    """

    strength: Scalar

    def __post_init__(self) -> None:
        check_range("strength", self.strength, NON_NEGATIVE)

    def transformation(self, mask: Mask | None = None) -> optax.GradientTransformation:
        """What comes before the preconditioner; `mask` chooses the parameters (default: all)."""
        raise NotImplementedError


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CoupledL2(Penalty):
    """L2 penalty `strength / 2 * ||theta||^2`: adds `strength * theta` to the gradient.

    This is `weight_decay` of `torch.optim.Adam`, `SGD` and the others (not of `AdamW`); Mehta et al. 2019, section 2.1.

    Attributes:
      strength: lambda, finite and >= 0; a scalar.

    Raises:
      ValueError: if a concrete strength is out of range.
    """

    @property
    def name(self) -> str:
        return "l2"

    def transformation(self, mask: Mask | None = None) -> optax.GradientTransformation:
        """What comes before the preconditioner; `mask` chooses the parameters (default: all)."""
        return _masked(optax.add_decayed_weights(self.strength), mask)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class BatchNormL1(Penalty):
    """L1 penalty on normalisation scales, `strength * ||gamma||_1`: adds `strength * sign(gamma)` to their gradients.

    Network slimming: Liu et al. 2017, section 3, equation 1, with the subgradient 0 at 0. Other kinds of parameters are
    left alone.

    Attributes:
      strength: lambda, finite and >= 0; a scalar.

    Raises:
      ValueError: if a concrete strength is out of range; at `init`, if no parameter (that `mask` chooses) is a scale.
    """

    @property
    def name(self) -> str:
        return "bn-l1"

    def transformation(self, mask: Mask | None = None) -> optax.GradientTransformation:
        """What comes before the preconditioner; `mask` chooses among the scales (default: all)."""
        return _add_to(Kind.SCALE, lambda scale: self.strength * jnp.sign(scale), mask)


@partial(jax.tree_util.register_dataclass, data_fields=["strength"], meta_fields=["weighted"])
@dataclass(frozen=True)
class GroupLasso(Penalty):
    """Penalty `strength * sum_g sqrt(|g|) ||w_g||_2` on kernels, with |g| the number of weights in a group: adds
    `strength * sqrt(|g|) * w_g / ||w_g||_2` to their gradients.

    A group is the incoming weights of one output unit: all axes of a kernel `[..., inputs, outputs]` but the last.
    The subgradient of a group that is zero is 0. Yuan and Lin 2006, equation 2.1 with their kernel matrices p_j I;
    Scardapane et al. 2017, equation 4, whose groups are what goes out of a unit. The factor makes one strength mean the
    same in layers of any size: a weight of a group whose entries are alike is pulled by the strength. Without it
    (`weighted=False`), Wen et al. 2016, section 3.

    Attributes:
      strength: lambda, finite and >= 0; a scalar.
      weighted: whether each group has the square root of its size.

    Raises:
      ValueError: if a concrete strength is out of range; at `init`, if no parameter (that `mask` chooses) is a kernel.
    """

    weighted: bool = True

    @property
    def name(self) -> str:
        return _named("group-lasso", self.weighted)

    def transformation(self, mask: Mask | None = None) -> optax.GradientTransformation:
        """What comes before the preconditioner; `mask` chooses among the kernels (default: all)."""

        def pull(kernel: jax.Array) -> jax.Array:
            return self.strength * _weight(kernel, self.weighted) * _unit_groups(kernel)

        return _add_to(Kind.KERNEL, pull, mask)


@partial(jax.tree_util.register_dataclass, data_fields=["strength"], meta_fields=["scale"])
@dataclass(frozen=True)
class DecoupledDecay(Decoupled):
    """Weight decay proper: shrinks the weights after the optimizer's step, by a share that ignores the gradient.

    | `scale`         | theta after the step                                  | source                              |
    |-----------------|-------------------------------------------------------|-------------------------------------|
    | `schedule`      | `(1 - strength * s_t) * (theta + update)`             | Mehta et al. 2019, section 2.1      |
    | `learning_rate` | `theta + update - learning_rate_t * strength * theta` | AdamW (Loshchilov and Hutter 2019)  |

    `s_t = learning_rate_t / learning_rate_0` (Mehta et al., caption of Table 1), so a schedule must not start at zero.
    The strength that Mehta et al. print is the base learning rate times that of `torch.optim.AdamW`, up to rounding.

    Attributes:
      strength: lambda, a scalar; in [0, 1) with `scale="schedule"`, else finite and >= 0.
      scale: what the strength is multiplied by.

    Raises:
      ValueError: if a concrete strength is out of range, or the scale is unknown.
    """

    strength: Scalar
    scale: DecayScale = "schedule"

    def __post_init__(self) -> None:
        require_choice("scale", self.scale, get_args(DecayScale))
        check_range("strength", self.strength, FRACTION if self.scale == "schedule" else NON_NEGATIVE)

    @property
    def name(self) -> str:
        return "wd" if self.scale == "schedule" else "wd-lr"

    def rate(self, learning_rate: LearningRate, count: int | jax.Array) -> Scalar:
        """Share of a weight that is taken away by the step after `count` others; a scalar."""
        if not callable(learning_rate):
            return self.strength if self.scale == "schedule" else self.strength * learning_rate
        now = jnp.asarray(learning_rate(count))
        return self.strength * (now / learning_rate(0) if self.scale == "schedule" else now)

    def transformation(self, learning_rate: LearningRate, mask: Mask | None = None) -> optax.GradientTransformation:
        """What comes last, after the scaling by the learning rate; `mask` chooses the parameters (default: all)."""
        after_step = self.scale == "schedule"

        def shrunk(updates: Tree, params: Tree, count: jax.Array) -> Tree:
            rate = self.rate(learning_rate, count)
            return jax.tree.map(lambda u, w: u - rate * (w + u if after_step else w), updates, params)

        return _masked(_after_step(shrunk), mask)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CautiousDecay(Decoupled):
    """AdamW's decay of those weights alone that the optimizer's step does not make larger:

        theta + update - learning_rate_t * strength * theta,  but theta + update where update * theta > 0

    Chen et al. 2025 (cautious weight decay), algorithm 1.

    Attributes:
      strength: lambda, finite and >= 0; a scalar.

    Raises:
      ValueError: if a concrete strength is out of range.
    """

    strength: Scalar

    def __post_init__(self) -> None:
        check_range("strength", self.strength, NON_NEGATIVE)

    @property
    def name(self) -> str:
        return "wd-cautious"

    def transformation(self, learning_rate: LearningRate, mask: Mask | None = None) -> optax.GradientTransformation:
        """What comes last, after the scaling by the learning rate; `mask` chooses the parameters (default: all)."""
        decay = DecoupledDecay(self.strength, scale="learning_rate")

        def shrunk(updates: Tree, params: Tree, count: jax.Array) -> Tree:
            rate = decay.rate(learning_rate, count)
            return jax.tree.map(lambda u, w: jnp.where(u * w > 0, u, u - rate * w), updates, params)

        return _masked(_after_step(shrunk), mask)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DecayToStart(Decoupled):
    """AdamW's decay, towards the weights that training started from in place of zero:

        theta + update - learning_rate_t * strength * (theta - theta_0)

    L2-SP of Li et al. 2018 (equation 4) in decoupled form; without their penalty on what is new.

    Attributes:
      strength: lambda, finite and >= 0; a scalar.

    Raises:
      ValueError: if a concrete strength is out of range.
    """

    strength: Scalar

    def __post_init__(self) -> None:
        check_range("strength", self.strength, NON_NEGATIVE)

    @property
    def name(self) -> str:
        return "wd-to-start"

    def transformation(self, learning_rate: LearningRate, mask: Mask | None = None) -> optax.GradientTransformation:
        """What comes last, after the scaling by the learning rate; `mask` chooses the parameters (default: all)."""
        decay = DecoupledDecay(self.strength, scale="learning_rate")

        def init_fn(params: Tree) -> optax.OptState:
            return _Started(jnp.zeros([], jnp.int32), jax.tree.map(jnp.copy, params))  # a training may donate both

        def update_fn(updates: Tree, state: Any, params: Tree = None) -> tuple[Tree, optax.OptState]:
            rate = decay.rate(learning_rate, state.count)
            updates = jax.tree.map(lambda u, w, start: u - rate * (w - start), updates, _given(params), state.start)
            return updates, _Started(jnp.asarray(optax.safe_increment(state.count)), state.start)

        return _masked(optax.GradientTransformation(init_fn, update_fn), mask)


class _Started(NamedTuple):
    count: jax.Array
    start: Tree


@partial(jax.tree_util.register_dataclass, data_fields=["strength"], meta_fields=["weighted"])
@dataclass(frozen=True)
class ProximalGroupLasso(Decoupled):
    """The penalty of `GroupLasso` by its proximal operator: groups become exactly zero.

    After the step of the loss alone has made v_g of the group w_g, with the learning rate lr_t of the step,

        w_g <- v_g * max(0, 1 - lr_t * strength * sqrt(|g|) / ||v_g||_2)

    is the minimum of `lr_t * strength * sqrt(|g|) * ||w_g||_2 + ||w_g - v_g||_2^2 / 2` (Parikh and Boyd 2014, section
    6.5.4; with plain SGD, proximal gradient descent). Groups and factor are those of `GroupLasso`.

    Attributes:
      strength: lambda, finite and >= 0; a scalar.
      weighted: whether each group has the square root of its size.

    Raises:
      ValueError: if a concrete strength is out of range; at `init`, if no parameter (that `mask` chooses) is a kernel.
    """

    strength: Scalar
    weighted: bool = True

    def __post_init__(self) -> None:
        check_range("strength", self.strength, NON_NEGATIVE)

    @property
    def name(self) -> str:
        return _named("proximal-group-lasso", self.weighted)

    def transformation(self, learning_rate: LearningRate, mask: Mask | None = None) -> optax.GradientTransformation:
        """What comes last, after the scaling by the learning rate; `mask` chooses among the kernels (default: all)."""

        def shrunk(updates: Tree, params: Tree, count: jax.Array) -> Tree:
            rate = learning_rate(count) if callable(learning_rate) else learning_rate
            bound = jnp.asarray(rate * self.strength)

            def toward_zero(on: bool, update: jax.Array, weight: jax.Array) -> jax.Array:
                own = bound * _weight(weight, self.weighted)
                return _soft_thresholded(weight + update, own) - weight if on else update

            return jax.tree.map(toward_zero, of_kind(Kind.KERNEL)(updates), updates, params)

        return _masked(_after_step(shrunk, Kind.KERNEL), mask)


_BY_NAME: dict[str, Callable[[Scalar], Regularizer | None]] = {
    "none": lambda strength: None,
    "l2": CoupledL2,
    "wd": DecoupledDecay,
    "wd-lr": partial(DecoupledDecay, scale="learning_rate"),
    "wd-cautious": CautiousDecay,
    "wd-to-start": DecayToStart,
    "bn-l1": BatchNormL1,
    "group-lasso": GroupLasso,
    "group-lasso-unweighted": partial(GroupLasso, weighted=False),
    "proximal-group-lasso": ProximalGroupLasso,
    "proximal-group-lasso-unweighted": partial(ProximalGroupLasso, weighted=False),
}

KINDS: dict[str, Kind] = {
    "bn-l1": Kind.SCALE,
    "group-lasso": Kind.KERNEL,
    "group-lasso-unweighted": Kind.KERNEL,
    "proximal-group-lasso": Kind.KERNEL,
    "proximal-group-lasso-unweighted": Kind.KERNEL,
}
"""The kind of parameter that a regularizer is about, by its name; what is not listed acts on every one."""

DECAYS = (DecoupledDecay, CautiousDecay, DecayToStart)
"""What acts on each weight by itself after the step."""

NAMES: tuple[str, ...] = tuple(_BY_NAME)
"""What `regularizer` knows: `none`, and the `name` of each regularizer."""


Form: TypeAlias = str | Callable[[Any], Regularizer | None]
"""What makes a regularizer of a strength: a name of `NAMES`, or a class."""


def form(given: Form) -> Form:
    """A form of regularizer as it is recorded: the name of one of ours, or a class of a person's own as it is.

    Raises:
      InvalidInput: for what is neither.
    """
    if isinstance(given, str):
        require_choice("regularizers", given, NAMES)
        return given
    known = next((name for name, own in _BY_NAME.items() if own is given), None)
    allowed = f"one of {' '.join(NAMES)}, or what makes a jaxsparse.regularizers.Regularizer of a strength"
    require(known is not None or callable(given), "regularizers", given, allowed)
    if known is None:
        made = given(0.0)
        fits = isinstance(made, Penalty | Decoupled)
        require(fits, "regularizers", type(made).__name__, f"{allowed} (a Penalty, or Decoupled)")
    return given if known is None else known


def regularizer(name: Form, strength: Scalar) -> Regularizer | None:
    """The regularizer of a strength; none for `none`.

    Raises:
      ValueError: for an unknown name, or a concrete strength out of range.
    """
    if not isinstance(name, str):
        return name(strength)
    require_choice("regularizer", name, NAMES)
    return _BY_NAME[name](strength)


def regularized(
    tx: optax.GradientTransformation,
    regularizer: Regularizer | None,
    *,
    learning_rate: LearningRate | None = None,
    mask: Mask | None = None,
) -> optax.GradientTransformation:
    """Any optax transformation with a regularizer around it: a coupled one before, a decoupled one after.

    `js.regularized(optax.lion(1e-4), js.CoupledL2(1e-3))` is to Lion what `weight_decay` of `torch.optim.Adam` is to
    Adam: Lion sees `gradient + 1e-3 * theta`. It serves Muon, Schedule-Free and `optax.partition` alike.

    Args:
      tx: whose updates are added to the weights.
      regularizer: one of `jaxsparse.regularizers`; none where it is None.
      learning_rate: the one that `tx` was made with, a number or a schedule, for what acts after the step
        (`DecoupledDecay`, `ProximalGroupLasso`): it can't be read off a transformation.
      mask: the parameters that are regularized (default: all), a function of them or a tree of booleans; see
        `trees.matched`.

    Raises:
      InvalidInput: naming the field and the allowed values.
    """
    require_regularizer(regularizer)
    if regularizer is None:
        return tx
    if isinstance(regularizer, Decoupled):
        require(learning_rate is not None, "learning_rate", None, f"the one of tx, for {type(regularizer).__name__}")
        check_range("learning_rate", learning_rate, POSITIVE)
    return around((tx,), regularizer, learning_rate, mask)


def around(
    chain: Sequence[optax.GradientTransformation],
    regularizer: Regularizer | None,
    learning_rate: LearningRate | None,
    mask: Mask | None,
) -> optax.GradientTransformation:
    """A chain with a coupled regularizer before it, a decoupled one (which needs the learning rate) after it."""
    if regularizer is None:
        return optax.chain(*chain)
    if isinstance(regularizer, Decoupled):
        assert learning_rate is not None
        return optax.chain(*chain, regularizer.transformation(learning_rate, mask))
    assert isinstance(regularizer, Penalty)
    return optax.chain(regularizer.transformation(mask), *chain)


def require_regularizer(regularizer: object) -> None:
    """Raises `InvalidInput` for what is neither None nor a regularizer."""
    known = regularizer is None or isinstance(regularizer, Penalty | Decoupled)
    require(known, "regularizer", regularizer, "None or one of jaxsparse.regularizers")


def require_strengths(strengths: Sequence[float], names: Collection[Form]) -> None:
    """Raises `InvalidInput` unless the strengths fit every one of the named regularizers."""
    require(set(names) <= {"none"} or len(strengths) > 0, "strengths", strengths, "at least one number")
    below_one = "wd" in names
    for strength in strengths:
        fine = math.isfinite(strength) and strength >= 0 and (strength < 1 or not below_one)
        require(fine, "strengths", strength, "finite numbers >= 0" + (", < 1 for wd" * below_one))


def _given(params: Tree) -> Tree:
    if params is None:
        raise ValueError("params must be passed to update: a regularizer acts on the weights")
    return params


def _masked(transformation: optax.GradientTransformation, mask: Mask | None) -> optax.GradientTransformation:
    return transformation if mask is None else optax.masked(transformation, matched(mask))


def _add_to(kind: Kind, gradient: Callable[[jax.Array], jax.Array], mask: Mask | None) -> optax.GradientTransformation:
    """Adds the gradient of a penalty to the updates of one kind of parameter."""
    chosen = of_kind(kind)

    def init_fn(params: Tree) -> optax.OptState:
        _require_any(kind, params)
        return optax.EmptyState()

    def update_fn(updates: Tree, state: optax.OptState, params: Tree = None) -> tuple[Tree, optax.OptState]:
        params = _given(params)
        return jax.tree.map(lambda on, g, w: g + gradient(w) if on else g, chosen(params), updates, params), state

    return _masked(optax.GradientTransformation(init_fn, update_fn), mask)


def _require_any(kind: Kind, params: Tree) -> None:
    present = any(jax.tree.leaves(of_kind(kind)(params)))
    require(present, "regularized parameters", "none", f"at least one {kind}, all that this penalty acts on")


def _after_step(
    change: Callable[[Tree, Tree, jax.Array], Tree], kind: Kind | None = None
) -> optax.GradientTransformation:
    """Changes what the optimizer would add to the weights, by them and the number of steps before this one; `kind`: of
    which there must be one."""

    def init_fn(params: Tree) -> optax.OptState:
        if kind is not None:
            _require_any(kind, params)
        return optax.ScaleByScheduleState(count=jnp.zeros([], jnp.int32))

    def update_fn(updates: Tree, state: Any, params: Tree = None) -> tuple[Tree, optax.OptState]:
        updates = change(updates, _given(params), state.count)
        return updates, optax.ScaleByScheduleState(count=optax.safe_increment(state.count))

    return optax.GradientTransformation(init_fn, update_fn)


def _named(name: str, weighted: bool) -> str:
    return name if weighted else f"{name}-unweighted"


def _weight(kernel: jax.Array, weighted: bool) -> float:
    """Of each group of a kernel `[..., outputs]` in a group lasso: the square root of its size, or 1."""
    return math.sqrt(math.prod(kernel.shape[:-1])) if weighted else 1.0


def _unit_groups(kernel: jax.Array) -> jax.Array:
    """Each group of a kernel `[..., outputs]` scaled to norm 1, or 0 where it is zero."""
    largest, norm = _norms(kernel)
    return kernel / jnp.where(largest > 0, largest, 1) / jnp.where(norm > 0, norm, 1)


def _soft_thresholded(kernel: jax.Array, bound: jax.Array) -> jax.Array:
    """Each group of a kernel `[..., outputs]` with a norm smaller by the bound, or 0."""
    largest, norm = _norms(kernel)
    norm *= largest
    bound = bound.astype(kernel.dtype).reshape((1,) * kernel.ndim)
    return jnp.where(norm > bound, kernel * (1 - bound / jnp.where(norm > 0, norm, 1)), 0)


def _norms(kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of each group the largest magnitude, and the norm as a multiple of it (0 where it is zero): `[1, ..., outputs]`.

    Dividing by the largest entry first keeps the squares of tiny weights from underflowing.
    """
    axes = tuple(range(kernel.ndim - 1))
    largest = jnp.max(jnp.abs(kernel), axis=axes, keepdims=True)
    scaled = kernel / jnp.where(largest > 0, largest, 1)
    return largest, jnp.sqrt(jnp.sum(scaled**2, axis=axes, keepdims=True))
