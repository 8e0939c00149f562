"""Rules of optimization in four conventions, as short chains of optax transformations; one rule is one file.

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
denominator may be zero: the forms of this package take 1 for it, so that 0/0 is 0; optax's own give NaN.

A file of this folder that holds a `RULE` is a rule of the package. Rules of others need no file here: `resolve`.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

import optax

from jaxsparse.checks import require
from jaxsparse.regularizers import LearningRate, Regularizer, Scalar
from jaxsparse.rules import functions
from jaxsparse.rules.averaging import evaluated
from jaxsparse.rules.foreign import imported, of
from jaxsparse.rules.rule import CONVENTIONS, INK, KNOWN, Form, Look, Rule, in_one_form, rate_first, scaled
from jaxsparse.trees import Mask

VERSION = 1
"""Of the update rules, regularizers and schedules: to be counted up whenever the same settings give other figures than
before, beyond rounding. Every record has it, and figures of different ones are never put together."""


def _found() -> dict[str, Rule]:
    """The rules of this folder, those with a function first."""
    files = [name for _, name, _ in pkgutil.iter_modules(__path__) if name not in functions.__all__]
    modules = [import_module(f"{__name__}.{name}") for name in (*functions.__all__, *sorted(files))]
    return {module.RULE.registered(): module.RULE for module in modules if hasattr(module, "RULE")}


RULES: dict[str, Rule] = _found()
"""The package's rules by name, in the order of every table."""
NAMES: tuple[str, ...] = tuple(RULES)


def resolve(optimizer: object, field: str = "optimizer") -> Rule:
    """The rule that is meant.

    Args:
      optimizer: a name of `RULES`, or `module:name` of what can be imported, such as `optax:lion`; a `Rule`; one of
        the functions `js.adam` and so on; or a function from a learning rate to an optax transformation, such as
        `optax.lion` or your own (see `of`).
      field: what a message calls it.

    Raises:
      InvalidInput: for what is none of these, or has the name of another rule.

    Example:
      >>> import optax
      >>> import jaxsparse as js
      >>> [js.rules.resolve(meant).name for meant in ("adam", js.adam, optax.lion, "optax:yogi")]
      ['adam', 'adam', 'optax:lion', 'optax:yogi']
    """
    if isinstance(optimizer, Rule):
        optimizer.registered()
        return optimizer
    if isinstance(optimizer, str):
        return KNOWN.get(optimizer) or imported(optimizer, NAMES, field)
    return of(optimizer, field=field)


def known(name: str) -> Rule:
    """The rule of a name that this process has come across; nothing is imported, as a record may tell the name.

    Raises:
      InvalidInput: for another name.
    """
    told = "given as it was, as a record never imports code" if ":" in name else f"one of {' '.join(NAMES)}"
    require(name in KNOWN, "optimizer", name, told)
    return KNOWN[name]


def having(hyperparameter: str) -> tuple[str, ...]:
    """Names of the package's rules that take a hyperparameter, in any convention."""
    return tuple(
        name for name, rule in RULES.items() if any(hyperparameter in form.defaults for form in rule.forms.values())
    )


def optimizer(
    name: object,
    learning_rate: LearningRate,
    *,
    regularizer: Regularizer | None = None,
    convention: str = "torch",
    mask: Mask | None = None,
    **hyper: Scalar | bool | None,
) -> optax.GradientTransformation:
    """The update rule of a name, as a command line gives it, or of whatever else `resolve` takes.

    The rule's own function says what each argument means.

    Raises:
      InvalidInput: for an unknown name, convention or hyperparameter, or a concrete number out of range.

    Example:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import jaxsparse as js
      >>> w = jnp.array([1.0])
      >>> for name in ("adam", "nadam", optax.lion):
      ...     tx = js.optimizer(name, 1e-3, regularizer=js.DecoupledDecay(1e-4))
      ...     updates, state = tx.update(jnp.array([0.5]), tx.init(w), w)
      ...     print(f"{updates[0]:.4f}")
      -0.0011
      -0.0012
      -0.0011
    """
    rule = resolve(name)
    return rule(learning_rate, regularizer=regularizer, convention=convention, mask=mask, **hyper)


def defaults(name: object, convention: str = "torch") -> dict[str, float | bool]:
    """The hyperparameters that a rule takes, with the convention's defaults.

    Raises:
      InvalidInput: for an unknown name or convention.

    Example:
      >>> import jaxsparse as js
      >>> js.rules.defaults("adam", "torch")["eps"], js.rules.defaults("adam", "keras")["eps"]
      (1e-08, 1e-07)
    """
    return resolve(name).defaults(convention)


__all__ = [
    "CONVENTIONS",
    "INK",
    "KNOWN",
    "NAMES",
    "RULES",
    "VERSION",
    "Form",
    "Look",
    "Rule",
    "defaults",
    "evaluated",
    "having",
    "in_one_form",
    "known",
    "of",
    "optimizer",
    "rate_first",
    "resolve",
    "scaled",
]
