"""Seven update rules in four conventions, as short chains of optax transformations.

    [coupled regularizer] -> the rule's preconditioner -> times -learning_rate -> [decoupled decay]

A *convention* says whose formula a rule name stands for: `torch` (`torch.optim`, the reference papers' framework),
`keras` (`keras.optimizers`), `optax`, or `paper` (the publication that introduced the rule). They agree while
gradients are large. Where the loss gradient vanishes they do not: where epsilon sits, what AMSGrad takes the maximum of
and what the accumulators start at decide whether a regularized weight reaches zero. `docs/conventions.md` has the
formulas side by side, and what they do to such a weight.

    tx = adam(1e-3, regularizer=CoupledL2(1e-4))
    state = tx.init(params)
    updates, state = tx.update(gradients, state, params)
    params = optax.apply_updates(params, updates)

Every number may be traced, and the state holds none of them, so one compilation serves a sweep. Updates and state keep
the type of the gradients and parameters, whatever the type of the hyperparameters.

Squares underflow: in float32 the square of a gradient below 1e-19 is lost (below 1e-22 if denormals are kept), and the
rule then sees a second moment of zero. `adamax` keeps magnitudes, not squares, and goes on to 1e-38. With `eps=0` a
denominator may be zero: the forms of this module take 1 for it, so that 0/0 is 0; optax's own give NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxsparse.config import require, require_choice
from jaxsparse.regularizers import (
    FRACTION,
    NON_NEGATIVE,
    POSITIVE,
    Decoupled,
    LearningRate,
    Penalty,
    Regularizer,
    Scalar,
    check_range,
)
from jaxsparse.trees import Mask, Tree

CONVENTIONS: tuple[str, ...] = ("torch", "keras", "optax", "paper")
RULES = 1
"""Version of the update rules, regularizers and schedules: to be counted up whenever the same settings give other
figures than before, beyond rounding. Every record has it, and figures of different ones are never put together."""


def sgd(
    learning_rate: LearningRate,
    *,
    momentum: Scalar | None = None,
    nesterov: bool | None = None,
    regularizer: Regularizer | None = None,
    convention: str = "torch",
    mask: Mask | None = None,
) -> optax.GradientTransformation:
    """Stochastic gradient descent with momentum.

    `torch`, `optax`: `v <- momentum * v + g; theta <- theta - learning_rate * v`. `keras`, `paper`: the learning rate
    is inside, `v <- momentum * v - learning_rate * g; theta <- theta + v`, which differs only while it changes.
    Nesterov's form takes `momentum * v + g` (of the new v) in place of v.

    Polyak 1964, equation 9; Sutskever et al. 2013, equations 1-4 (Nesterov's written for the look-ahead point).

    Args:
      learning_rate: a scalar > 0, or an optax schedule.
      momentum: in [0, 1); 0 if not given.
      nesterov: not traceable; False if not given.
      regularizer: None, or one of `jaxsparse.regularizers`.
      convention: one of `CONVENTIONS`.
      mask: which parameters are regularized (default: all), as for `optax.masked`.

    Raises:
      ValueError: for an unknown convention, or a concrete number out of range.
    """
    hyper = {"momentum": momentum, "nesterov": nesterov}
    return _build("sgd", learning_rate, hyper, regularizer, convention, mask)


def adam(
    learning_rate: LearningRate,
    *,
    b1: Scalar | None = None,
    b2: Scalar | None = None,
    eps: Scalar | None = None,
    regularizer: Regularizer | None = None,
    convention: str = "torch",
    mask: Mask | None = None,
) -> optax.GradientTransformation:
    """Adam: `m <- b1 m + (1 - b1) g; v <- b2 v + (1 - b2) g^2`, then a step along their bias-corrected quotient.

    With `c1 = 1 - b1^t` and `c2 = 1 - b2^t`, the step is `learning_rate` times

        torch, optax, paper     (m / c1) / (sqrt(v / c2) + eps)
        keras                   (m / c1) * sqrt(c2) / (sqrt(v) + eps)       (epsilon hat)

    Kingma and Ba 2015, Algorithm 1; epsilon hat: end of its section 2.

    Args:
      learning_rate: a scalar > 0, or an optax schedule.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: >= 0.
      regularizer: None, or one of `jaxsparse.regularizers`.
      convention: one of `CONVENTIONS`; hyperparameters not given have its `defaults`.
      mask: which parameters are regularized (default: all), as for `optax.masked`.

    Raises:
      ValueError: for an unknown convention, or a concrete number out of range.
    """
    return _build("adam", learning_rate, {"b1": b1, "b2": b2, "eps": eps}, regularizer, convention, mask)


def amsgrad(
    learning_rate: LearningRate,
    *,
    b1: Scalar | None = None,
    b2: Scalar | None = None,
    eps: Scalar | None = None,
    regularizer: Regularizer | None = None,
    convention: str = "torch",
    mask: Mask | None = None,
) -> optax.GradientTransformation:
    """AMSGrad: Adam, with the largest second moment so far in place of the current one.

    With m, v, c1, c2 as in `adam` and `h <- max(h, v)`, the step is `learning_rate` times

        torch       (m / c1) / (sqrt(h / c2) + eps)
        keras       (m / c1) * sqrt(c2) / (sqrt(h) + eps)
        optax       (m / c1) / (sqrt(h') + eps),  h' <- max(h', v / c2)
        paper       m / (sqrt(h) + eps),  eps = 0

    Reddi et al. 2018, Algorithm 2.

    Args:
      learning_rate: a scalar > 0, or an optax schedule.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the second moment, in [0, 1).
      eps: >= 0.
      regularizer: None, or one of `jaxsparse.regularizers`.
      convention: one of `CONVENTIONS`; hyperparameters not given have its `defaults`.
      mask: which parameters are regularized (default: all), as for `optax.masked`.

    Raises:
      ValueError: for an unknown convention, or a concrete number out of range.
    """
    return _build("amsgrad", learning_rate, {"b1": b1, "b2": b2, "eps": eps}, regularizer, convention, mask)


def adamax(
    learning_rate: LearningRate,
    *,
    b1: Scalar | None = None,
    b2: Scalar | None = None,
    eps: Scalar | None = None,
    regularizer: Regularizer | None = None,
    convention: str = "torch",
    mask: Mask | None = None,
) -> optax.GradientTransformation:
    """Adamax: Adam with a running maximum of |g| in place of the root mean square.

    With m, c1 as in `adam`, the step is `learning_rate` times

        torch, optax    (m / c1) / u,  u <- max(b2 u, |g| + eps)
        keras, paper    (m / c1) / (u + eps),  u <- max(b2 u, |g|);  in the paper eps = 0

    Kingma and Ba 2015, Algorithm 2.

    Args:
      learning_rate: a scalar > 0, or an optax schedule.
      b1: decay of the first moment, in [0, 1).
      b2: decay of the maximum, in [0, 1).
      eps: >= 0.
      regularizer: None, or one of `jaxsparse.regularizers`.
      convention: one of `CONVENTIONS`; hyperparameters not given have its `defaults`.
      mask: which parameters are regularized (default: all), as for `optax.masked`.

    Raises:
      ValueError: for an unknown convention, or a concrete number out of range.
    """
    return _build("adamax", learning_rate, {"b1": b1, "b2": b2, "eps": eps}, regularizer, convention, mask)


def rmsprop(
    learning_rate: LearningRate,
    *,
    decay: Scalar | None = None,
    eps: Scalar | None = None,
    regularizer: Regularizer | None = None,
    convention: str = "torch",
    mask: Mask | None = None,
) -> optax.GradientTransformation:
    """RMSProp: the gradient over its running root mean square, `v <- decay v + (1 - decay) g^2`.

    The step is `learning_rate` times

        torch, paper    g / (sqrt(v) + eps);  in the paper eps = 0
        keras, optax    g / sqrt(v + eps)

    Hinton, Srivastava and Swersky 2012, lecture 6e, slide 29.

    Args:
      learning_rate: a scalar > 0, or an optax schedule.
      decay: in [0, 1).
      eps: >= 0.
      regularizer: None, or one of `jaxsparse.regularizers`.
      convention: one of `CONVENTIONS`; hyperparameters not given have its `defaults`.
      mask: which parameters are regularized (default: all), as for `optax.masked`.

    Raises:
      ValueError: for an unknown convention, or a concrete number out of range.
    """
    return _build("rmsprop", learning_rate, {"decay": decay, "eps": eps}, regularizer, convention, mask)


def adagrad(
    learning_rate: LearningRate,
    *,
    eps: Scalar | None = None,
    initial_accumulator_value: Scalar | None = None,
    regularizer: Regularizer | None = None,
    convention: str = "torch",
    mask: Mask | None = None,
) -> optax.GradientTransformation:
    """Adagrad: the gradient over the root of the sum of all squares, `s <- s + g^2` from `initial_accumulator_value`.

    The step is `learning_rate` times

        torch, paper    g / (sqrt(s) + eps);  in the paper eps (its delta) = 0, and 0/0 = 0 (its pseudo-inverse)
        keras, optax    g / sqrt(s + eps)

    Duchi et al. 2011, Figure 1, diagonal case.

    Args:
      learning_rate: a scalar > 0, or an optax schedule.
      eps: >= 0.
      initial_accumulator_value: >= 0.
      regularizer: None, or one of `jaxsparse.regularizers`.
      convention: one of `CONVENTIONS`; hyperparameters not given have its `defaults`.
      mask: which parameters are regularized (default: all), as for `optax.masked`.

    Raises:
      ValueError: for an unknown convention, or a concrete number out of range.
    """
    hyper = {"eps": eps, "initial_accumulator_value": initial_accumulator_value}
    return _build("adagrad", learning_rate, hyper, regularizer, convention, mask)


def adadelta(
    learning_rate: LearningRate,
    *,
    rho: Scalar | None = None,
    eps: Scalar | None = None,
    regularizer: Regularizer | None = None,
    convention: str = "torch",
    mask: Mask | None = None,
) -> optax.GradientTransformation:
    """Adadelta: steps in the units of the weights, from running mean squares of gradients and of steps.

    `v <- rho v + (1 - rho) g^2; d = g sqrt(a + eps) / sqrt(v + eps); a <- rho a + (1 - rho) d^2`, and the step is
    `learning_rate * d`. One form in all conventions; only the defaults differ. The paper's learning rate is 1.
    `optax.adadelta()` without a learning rate *ascends*: it does not negate the step. Here it is required.

    Zeiler 2012, Algorithm 1.

    Args:
      learning_rate: a scalar > 0, or an optax schedule.
      rho: in [0, 1).
      eps: >= 0; with 0 no weight ever moves.
      regularizer: None, or one of `jaxsparse.regularizers`.
      convention: one of `CONVENTIONS`; hyperparameters not given have its `defaults`.
      mask: which parameters are regularized (default: all), as for `optax.masked`.

    Raises:
      ValueError: for an unknown convention, or a concrete number out of range.
    """
    return _build("adadelta", learning_rate, {"rho": rho, "eps": eps}, regularizer, convention, mask)


_RULES: dict[str, Callable[..., optax.GradientTransformation]] = {
    rule.__name__: rule for rule in (sgd, adam, amsgrad, adamax, rmsprop, adagrad, adadelta)
}

NAMES: tuple[str, ...] = tuple(_RULES)


def optimizer(
    name: str,
    learning_rate: LearningRate,
    *,
    regularizer: Regularizer | None = None,
    convention: str = "torch",
    mask: Mask | None = None,
    **hyper: Scalar | bool | None,
) -> optax.GradientTransformation:
    """The update rule of a name, as a command line gives it; the rule's own function says what each argument means.

    Raises:
      ValueError: for an unknown name, convention or hyperparameter, or a concrete number out of range.
    """
    known = defaults(name, convention)
    for field in hyper:
        require_choice(f"hyperparameter of {name}", field, tuple(known))
    return _RULES[name](learning_rate, regularizer=regularizer, convention=convention, mask=mask, **hyper)


def defaults(name: str, convention: str = "torch") -> dict[str, float | bool]:
    """The hyperparameters that a rule takes, with the convention's defaults.

    Raises:
      ValueError: for an unknown name or convention.
    """
    require_choice("optimizer", name, NAMES)
    require_choice("convention", convention, CONVENTIONS)
    return dict(_FORMS[name][convention].defaults)


Coefficients: TypeAlias = Callable[[ArrayLike, Scalar, Scalar, Scalar], tuple[Scalar, Scalar]]
"""From t, b1, b2 and eps to the `a_t` and `e_t` of `_scale_by_adam`."""


class ScaleByRootState(NamedTuple):
    """State of RMSProp and Adagrad: mean or sum of squares."""

    nu: Tree


def _correction(count: ArrayLike, b: Scalar) -> jax.Array:
    """`1 - b^t`, without the cancellation that costs float32 half of its digits at small t."""
    return -jnp.expm1(jnp.log(b) * count)


def _bias_corrected(count: ArrayLike, b1: Scalar, b2: Scalar, eps: Scalar) -> tuple[Scalar, Scalar]:
    c1, c2 = _correction(count, b1), _correction(count, b2)
    return c1 / jnp.sqrt(c2), c1 * eps


def _epsilon_hat(count: ArrayLike, b1: Scalar, b2: Scalar, eps: Scalar) -> tuple[Scalar, Scalar]:
    c1, c2 = _correction(count, b1), _correction(count, b2)
    a = c1 / jnp.sqrt(c2)
    return a, a * eps


def _uncorrected(count: ArrayLike, b1: Scalar, b2: Scalar, eps: Scalar) -> tuple[Scalar, Scalar]:
    del count, b1, b2
    return 1.0, eps


def _scale_by_adam(
    b1: Scalar,
    b2: Scalar,
    eps: Scalar,
    coefficients: Coefficients = _bias_corrected,
) -> optax.GradientTransformation:
    """Adam in any form: `m / (a_t * sqrt(v) + e_t)`, the forms differing in the scalars `a_t` and `e_t` only.

    The bias-corrected form is that of `optax.scale_by_adam` with one division a weight instead of three, which takes a
    sixth off the update of a small network.
    """

    def init_fn(params: Tree) -> optax.OptState:
        mu, nu = _zeros(params, 2)
        return optax.ScaleByAdamState(count=jnp.zeros([], jnp.int32), mu=mu, nu=nu)

    def update_fn(updates: Tree, state: Any, params: Tree = None) -> tuple[Tree, optax.OptState]:
        del params
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment(updates, state.nu, b2, 2)
        count = optax.safe_increment(state.count)
        a, e = coefficients(count, b1, b2, eps)
        updates = jax.tree.map(lambda m, v: _quotient(m, a * jnp.sqrt(v) + e), mu, nu)
        return updates, optax.ScaleByAdamState(count=count, mu=mu, nu=nu)

    return optax.GradientTransformation(init_fn, update_fn)


def _scale_by_amsgrad(
    b1: Scalar,
    b2: Scalar,
    eps: Scalar,
    coefficients: Coefficients = _bias_corrected,
) -> optax.GradientTransformation:
    """As `_scale_by_adam`, with the largest uncorrected second moment so far in place of the current one."""

    def init_fn(params: Tree) -> optax.OptState:
        mu, nu, nu_max = _zeros(params, 3)
        return optax.ScaleByAmsgradState(count=jnp.zeros([], jnp.int32), mu=mu, nu=nu, nu_max=nu_max)

    def update_fn(updates: Tree, state: Any, params: Tree = None) -> tuple[Tree, optax.OptState]:
        del params
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment(updates, state.nu, b2, 2)
        nu_max = jax.tree.map(jnp.maximum, state.nu_max, nu)
        count = optax.safe_increment(state.count)
        a, e = coefficients(count, b1, b2, eps)
        updates = jax.tree.map(lambda m, v: _quotient(m, a * jnp.sqrt(v) + e), mu, nu_max)
        return updates, optax.ScaleByAmsgradState(count=count, mu=mu, nu=nu, nu_max=nu_max)

    return optax.GradientTransformation(init_fn, update_fn)


def _scale_by_adamax(b1: Scalar, b2: Scalar, eps: Scalar) -> optax.GradientTransformation:
    """`m / (c1 * (u + eps))`: epsilon outside the maximum, where `optax.scale_by_adamax` has it inside."""

    def init_fn(params: Tree) -> optax.OptState:
        mu, nu = _zeros(params, 2)
        return optax.ScaleByAdamState(count=jnp.zeros([], jnp.int32), mu=mu, nu=nu)

    def update_fn(updates: Tree, state: Any, params: Tree = None) -> tuple[Tree, optax.OptState]:
        del params
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_infinity_moment(updates, state.nu, b2, 0.0)
        count = optax.safe_increment(state.count)
        c1 = _correction(count, b1)
        updates = jax.tree.map(lambda m, u: _quotient(m, c1 * (u + eps)), mu, nu)
        return updates, optax.ScaleByAdamState(count=count, mu=mu, nu=nu)

    return optax.GradientTransformation(init_fn, update_fn)


def _scale_by_rms(decay: Scalar, eps: Scalar) -> optax.GradientTransformation:
    """`g / (sqrt(v) + eps)`, v a running mean of squares."""
    return _scale_by_root(lambda g, v: decay * v + (1 - decay) * g**2, eps, 0.0)


def _scale_by_rss(eps: Scalar, initial_accumulator_value: Scalar) -> optax.GradientTransformation:
    """`g / (sqrt(s) + eps)`, s the sum of squares."""
    return _scale_by_root(lambda g, s: s + g**2, eps, initial_accumulator_value)


def _scale_by_root(
    accumulate: Callable[[jax.Array, jax.Array], jax.Array], eps: Scalar, initial: Scalar
) -> optax.GradientTransformation:
    def init_fn(params: Tree) -> optax.OptState:
        return ScaleByRootState(nu=optax.tree.full_like(params, initial))

    def update_fn(updates: Tree, state: Any, params: Tree = None) -> tuple[Tree, optax.OptState]:
        del params
        nu = jax.tree.map(accumulate, updates, state.nu)
        updates = jax.tree.map(lambda g, v: _quotient(g, jnp.sqrt(v) + eps), updates, nu)
        return updates, ScaleByRootState(nu=nu)

    return optax.GradientTransformation(init_fn, update_fn)


def _zeros(params: Tree, copies: int) -> list[Tree]:
    """Accumulators that share no memory, so that a training loop may donate the state."""
    return [optax.tree.zeros_like(params) for _ in range(copies)]


def _quotient(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    """`numerator / denominator`, with 1 for a denominator that is 0, so that 0/0 is 0."""
    return numerator / jnp.where(denominator == 0, 1, denominator)


def _momentum(momentum: Scalar, nesterov: bool) -> optax.GradientTransformation:
    """`optax.trace`; nothing at all, and no state, for a momentum that is known to be zero."""
    if isinstance(momentum, float | int) and momentum == 0:
        return optax.identity()
    return optax.trace(momentum, nesterov)


class _Form(NamedTuple):
    """One convention's form of a rule."""

    preconditioner: Callable[..., optax.GradientTransformation]
    """takes the hyperparameters by name"""
    defaults: dict[str, float | bool]
    learning_rate_first: bool = False
    """the learning rate scales what goes into the preconditioner, not what comes out"""


_NO_MOMENTUM: dict[str, float | bool] = {"momentum": 0.0, "nesterov": False}


def _moments(eps: float) -> dict[str, float | bool]:
    return {"b1": 0.9, "b2": 0.999, "eps": eps}


_FORMS: dict[str, dict[str, _Form]] = {
    "sgd": {
        "torch": _Form(_momentum, _NO_MOMENTUM),
        "keras": _Form(_momentum, _NO_MOMENTUM, learning_rate_first=True),
        "optax": _Form(_momentum, _NO_MOMENTUM),
        "paper": _Form(_momentum, _NO_MOMENTUM, learning_rate_first=True),
    },
    "adam": {
        "torch": _Form(_scale_by_adam, _moments(1e-8)),
        "keras": _Form(partial(_scale_by_adam, coefficients=_epsilon_hat), _moments(1e-7)),
        "optax": _Form(optax.scale_by_adam, _moments(1e-8)),
        "paper": _Form(_scale_by_adam, _moments(1e-8)),
    },
    "amsgrad": {
        "torch": _Form(_scale_by_amsgrad, _moments(1e-8)),
        "keras": _Form(partial(_scale_by_amsgrad, coefficients=_epsilon_hat), _moments(1e-7)),
        "optax": _Form(optax.scale_by_amsgrad, _moments(1e-8)),
        "paper": _Form(partial(_scale_by_amsgrad, coefficients=_uncorrected), _moments(0.0)),
    },
    "adamax": {
        "torch": _Form(optax.scale_by_adamax, _moments(1e-8)),
        "keras": _Form(_scale_by_adamax, _moments(1e-7)),
        "optax": _Form(optax.scale_by_adamax, _moments(1e-8)),
        "paper": _Form(_scale_by_adamax, _moments(0.0)),
    },
    "rmsprop": {
        "torch": _Form(_scale_by_rms, {"decay": 0.99, "eps": 1e-8}),
        "keras": _Form(optax.scale_by_rms, {"decay": 0.9, "eps": 1e-7}),
        "optax": _Form(optax.scale_by_rms, {"decay": 0.9, "eps": 1e-8}),
        "paper": _Form(_scale_by_rms, {"decay": 0.9, "eps": 0.0}),
    },
    "adagrad": {
        "torch": _Form(_scale_by_rss, {"eps": 1e-10, "initial_accumulator_value": 0.0}),
        "keras": _Form(optax.scale_by_rss, {"eps": 1e-7, "initial_accumulator_value": 0.1}),
        "optax": _Form(optax.scale_by_rss, {"eps": 1e-7, "initial_accumulator_value": 0.1}),
        "paper": _Form(_scale_by_rss, {"eps": 0.0, "initial_accumulator_value": 0.0}),
    },
    "adadelta": {
        "torch": _Form(optax.scale_by_adadelta, {"rho": 0.9, "eps": 1e-6}),
        "keras": _Form(optax.scale_by_adadelta, {"rho": 0.95, "eps": 1e-7}),
        "optax": _Form(optax.scale_by_adadelta, {"rho": 0.9, "eps": 1e-6}),
        "paper": _Form(optax.scale_by_adadelta, {"rho": 0.95, "eps": 1e-6}),
    },
}

_RANGES = {
    "b1": FRACTION,
    "b2": FRACTION,
    "decay": FRACTION,
    "rho": FRACTION,
    "momentum": FRACTION,
    "eps": NON_NEGATIVE,
    "initial_accumulator_value": NON_NEGATIVE,
}


def _build(
    name: str,
    learning_rate: LearningRate,
    hyper: dict[str, Any],
    regularizer: Regularizer | None,
    convention: str,
    mask: Mask | None,
) -> optax.GradientTransformation:
    chosen = defaults(name, convention) | {field: value for field, value in hyper.items() if value is not None}
    _check(learning_rate, regularizer, chosen)
    form = _FORMS[name][convention]
    step = [form.preconditioner(**chosen), optax.scale_by_learning_rate(learning_rate)]
    if form.learning_rate_first:
        step.reverse()
    if isinstance(regularizer, Decoupled):
        step.append(regularizer.transformation(learning_rate, mask))
    elif isinstance(regularizer, Penalty):
        step.insert(0, regularizer.transformation(mask))
    return _keep_types(optax.chain(*step))


def _check(learning_rate: LearningRate, regularizer: Regularizer | None, hyper: dict[str, Any]) -> None:
    check_range("learning_rate", learning_rate, POSITIVE)
    known = regularizer is None or isinstance(regularizer, Regularizer)
    require(known, "regularizer", regularizer, "None or one of jaxsparse.regularizers")
    for field, value in hyper.items():
        if field == "nesterov":
            require(isinstance(value, bool), field, value, "True or False")
        else:
            check_range(field, value, _RANGES[field])


def _keep_types(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """Gives updates and state the types that they had, which a hyperparameter of a wider type would change."""

    def update_fn(updates: Tree, state: optax.OptState, params: Tree = None) -> tuple[Tree, optax.OptState]:
        new_updates, new_state = inner.update(updates, state, params)
        return optax.tree.cast_like(new_updates, updates), optax.tree.cast_like(new_state, state)

    return optax.GradientTransformation(inner.init, update_fn)
