"""Rules that are not in this package: of optax, or a user's own."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxsparse import importing
from jaxsparse.checks import InvalidInput, require
from jaxsparse.rules.rule import CONVENTIONS, KNOWN, Form, Rule

_EXPECTED = "a name, a jaxsparse.rules.Rule, or a function from a learning rate to an optax transformation"


def of(factory: Any, name: str | None = None, field: str = "optimizer") -> Rule:
    """The rule of a function from a learning rate (a number or a schedule) to an optax transformation.

    It has one form, whatever the convention. Its hyperparameters are those arguments by keyword whose default is a
    float; others keep their defaults, and a `weight_decay` of the function's own is zero: decay is the regularizer's.

        js.rules.of(optax.lion)                                                       # optax:lion
        js.rules.of(lambda rate: optax.lion(rate, b1=0.95), name="lion-95")

    Args:
      factory: the function; of one that this package made of a rule, as `js.adam`, the result is that rule.
      name: if not given, `module:name` where the function can be imported as such, else the function's own.
      field: what a message calls it.

    Raises:
      InvalidInput: for anything else, or where another rule has that name.

    Example:
      >>> import optax
      >>> import jaxsparse as js
      >>> lion = js.rules.of(lambda rate, b1=0.95: optax.lion(rate, b1=b1), name="lion-95")
      >>> lion.name, js.rules.defaults(lion)
      ('lion-95', {'b1': 0.95})
    """
    require(callable(factory), field, factory, _EXPECTED)
    own = getattr(sys.modules.get(getattr(factory, "__module__", "")), "RULE", None)
    if isinstance(own, Rule) and own.name == getattr(factory, "__name__", None):
        return own
    name = str(name or _spelled_out(factory) or getattr(factory, "__name__", "").strip("<>"))
    require(name != "", field, factory, "named: jaxsparse.rules.of(function, name=..)")
    known = KNOWN.get(name)
    if known is not None and known.factory is factory:
        return known
    rate, numbers, fixed = _arguments(factory, field)

    def chain(learning_rate: Any, **hyper: Any) -> tuple[optax.GradientTransformation]:
        return (factory(learning_rate, **fixed, **hyper),)

    _try(chain, numbers, factory, field)
    form = Form(chain, numbers)
    rule = Rule(name, dict.fromkeys(CONVENTIONS, form), learning_rate=rate, elementwise=False, factory=factory)
    rule.registered()
    return rule


def imported(text: str, names: Sequence[str], field: str) -> Rule:
    """The rule that `module:name` says: a `Rule`, or a function as `of` takes it.

    Raises:
      InvalidInput: where there is no such thing.
    """
    require(":" in text, field, text, "one of " + " ".join(names))
    found = importing.imported(text, field)
    if not isinstance(found, Rule):
        return of(found, field=field) if hasattr(found, "__name__") else of(found, text, field)
    rule = replace(found, name=text, label=found.label)
    rule.registered()
    return rule


def _spelled_out(factory: Callable[..., Any]) -> str | None:
    """`module:name`, with the shortest module that has the function under its name; none for a local one."""
    name, pieces = getattr(factory, "__name__", ""), (getattr(factory, "__module__", None) or "").split(".")
    for count in range(1, len(pieces) + 1):
        module = ".".join(pieces[:count])
        if module in sys.modules and module != "__main__" and vars(sys.modules[module]).get(name) is factory:
            return f"{module}:{name}"
    return None


def _arguments(factory: Callable[..., Any], field: str) -> tuple[float, dict[str, float | bool], dict[str, float]]:
    """The default learning rate (of none: that of `Rule`), the hyperparameters' defaults, and what is fixed."""
    try:
        first, *others = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        raise InvalidInput(f"{field} must be {_EXPECTED}, got {factory!r}") from None
    takes = first.kind in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD)
    rate = takes and (first.default is first.empty or first.name in ("learning_rate", "lr"))
    alone = all(one.default is not one.empty or one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD) for one in others)
    require(rate and alone, field, factory, "a function of a learning rate, whose other arguments have defaults")
    floats = {one.name: one.default for one in others if isinstance(one.default, float)}
    fixed = {name: 0.0 for name in floats if "weight_decay" in name}
    numbers: dict[str, float | bool] = {name: value for name, value in floats.items() if name not in fixed}
    return first.default if isinstance(first.default, float) else Rule.learning_rate, numbers, fixed


def _try(chain: Callable[..., Any], numbers: dict[str, float | bool], factory: Any, field: str) -> None:
    """Takes a step with schedule and hyperparameters traced, as training does, and without computing anything."""

    def step(rate: Any, numbers: dict[str, Any]) -> Any:
        weights = {"kernel": jnp.ones((2, 2))}
        (tx,) = chain(lambda count: rate, **numbers)
        return tx.update(weights, tx.init(weights), weights)

    try:
        jax.eval_shape(step, 1e-3, numbers)
    except Exception as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        allowed = "a function from a schedule to an optax transformation, whose float arguments can be traced"
        raise InvalidInput(f"{field} must be {allowed}, got {factory!r} ({said})") from None
