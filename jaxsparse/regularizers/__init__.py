"""What pulls weights towards zero, and where in the update it acts.

Three places, and they differ as soon as the optimizer is adaptive (Loshchilov and Hutter 2019, section 2):

    coupled      gradient + penalty's gradient -> preconditioner -> step        CoupledL2, BatchNormL1, GroupLasso
    decoupled    gradient -> preconditioner -> step -> shrink the weights       DecoupledDecay, CautiousDecay,
                                                                                DecayToStart, ProximalGroupLasso
    factorized   weights are products, and each factor has a coupled penalty    Factorized

A coupled penalty is divided by the same running root mean square as the gradient. Where the loss gradient vanishes,
the penalty is normalised by itself, and the weight moves by about the learning rate in every step however weak the
penalty is. Decoupled decay knows no such effect.

Every regularizer is a frozen dataclass and a JAX pytree: `strength` may be a float, a traced scalar, or an array that
`jax.vmap` maps over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, TypeAlias

import optax

from jaxsparse.checks import require, require_choice
from jaxsparse.regularizers.base import (
    FINITE,
    FRACTION,
    NON_NEGATIVE,
    POSITIVE,
    Chain,
    Decoupled,
    LearningRate,
    Penalty,
    Range,
    Regularizer,
    Scalar,
    check_range,
)
from jaxsparse.regularizers.decay import DECAYS, CautiousDecay, DecayScale, DecayToStart, DecoupledDecay
from jaxsparse.regularizers.factorized import Factorized
from jaxsparse.regularizers.groups import GroupLasso, ProximalGroupLasso
from jaxsparse.regularizers.penalties import BatchNormL1, CoupledL2
from jaxsparse.trees import Kind, Mask

_KINDS = (Penalty, Decoupled, Factorized)
"""What knows where in the update it acts; `Regularizer` alone does not."""
_BY_NAME: dict[str, Callable[[Scalar], Regularizer | None]] = {
    "none": lambda strength: None,
    "l2": CoupledL2,
    "wd": DecoupledDecay,
    "wd-lr": partial(DecoupledDecay, scale="learning_rate"),
    "wd-cautious": CautiousDecay,
    "wd-to-start": DecayToStart,
    "spred": Factorized,
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
        fits = isinstance(made, _KINDS)
        require(fits, "regularizers", type(made).__name__, f"{allowed} (a Penalty, or Decoupled)")
    return given if known is None else known


def regularizer(name: Form, strength: Scalar) -> Regularizer | None:
    """The regularizer of a strength; none for `none`.

    Raises:
      ValueError: for an unknown name, or a concrete strength out of range.

    Example:
      >>> import jaxsparse as js
      >>> js.regularizers.regularizer("l2", 1e-4), js.regularizers.regularizer("none", 0.0)
      (CoupledL2(strength=0.0001), None)
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
    """Any optax transformation with a regularizer around it: coupled before it, decoupled after it, or its factors.

    `js.regularized(optax.lion(1e-4), js.CoupledL2(1e-3))` is to Lion what `weight_decay` of `torch.optim.Adam` is to
    Adam: Lion sees `gradient + 1e-3 * theta`. It serves Muon, Schedule-Free and `optax.partition` alike.

    Args:
      tx: whose updates are added to the weights.
      regularizer: one of `jaxsparse.regularizers`; none where it is None.
      learning_rate: the one that `tx` was made with, a number or a schedule, for what acts after the step
        (any `Decoupled`): it can't be read off a transformation.
      mask: the parameters that are regularized (default: all), a function of them or a tree of booleans; see
        `trees.matched`.

    Raises:
      InvalidInput: naming the field and the allowed values.

    Example:
      The same decay, before the rule and after it; the gradient of the loss is zero.

      >>> import jax.numpy as jnp
      >>> import optax
      >>> import jaxsparse as js
      >>> w = jnp.array([1.0])
      >>> for regularizer in (js.CoupledL2(1e-4), js.DecoupledDecay(1e-4)):
      ...     tx = js.regularized(optax.adam(1e-2), regularizer, learning_rate=1e-2)
      ...     updates, state = tx.update(jnp.zeros(1), tx.init(w), w)
      ...     print(f"{type(regularizer).__name__}: {updates[0]:.4f}")
      CoupledL2: -0.0100
      DecoupledDecay: -0.0001
    """
    require_regularizer(regularizer)
    if regularizer is None:
        return tx
    if isinstance(regularizer, Decoupled):
        require(learning_rate is not None, "learning_rate", None, f"the one of tx, for {type(regularizer).__name__}")
        check_range("learning_rate", learning_rate, POSITIVE)
    return around((tx,), regularizer, learning_rate, mask)


def around(
    chain: Chain, regularizer: Regularizer | None, learning_rate: LearningRate | None, mask: Mask | None
) -> optax.GradientTransformation:
    """A chain with a regularizer, or without."""
    return optax.chain(*chain) if regularizer is None else regularizer.around(chain, learning_rate, mask)


def require_regularizer(regularizer: object) -> None:
    """Raises `InvalidInput` for what is neither None nor a regularizer."""
    known = regularizer is None or isinstance(regularizer, _KINDS)
    require(known, "regularizer", regularizer, "None or one of jaxsparse.regularizers")


def require_strengths(strengths: Sequence[float], names: Collection[Form]) -> None:
    """Raises `InvalidInput` unless the strengths fit every one of the named regularizers."""
    require(set(names) <= {"none"} or len(strengths) > 0, "strengths", strengths, "at least one number")
    below_one = "wd" in names
    for strength in strengths:
        fine = math.isfinite(strength) and strength >= 0 and (strength < 1 or not below_one)
        require(fine, "strengths", strength, "finite numbers >= 0" + (", < 1 for wd" * below_one))


__all__ = [
    "DECAYS",
    "FINITE",
    "FRACTION",
    "KINDS",
    "NAMES",
    "NON_NEGATIVE",
    "POSITIVE",
    "BatchNormL1",
    "CautiousDecay",
    "Chain",
    "CoupledL2",
    "DecayScale",
    "DecayToStart",
    "Decoupled",
    "DecoupledDecay",
    "Factorized",
    "Form",
    "GroupLasso",
    "LearningRate",
    "Penalty",
    "ProximalGroupLasso",
    "Range",
    "Regularizer",
    "Scalar",
    "around",
    "check_range",
    "form",
    "regularized",
    "regularizer",
    "require_regularizer",
    "require_strengths",
]
