"""What a rule of optimization is: its forms in the conventions, and all else that the package has to know of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import optax

from jaxsparse.checks import require, require_choice
from jaxsparse.regularizers import (
    FINITE,
    POSITIVE,
    LearningRate,
    Range,
    Regularizer,
    Scalar,
    around,
    check_range,
    require_regularizer,
)
from jaxsparse.rules.law import Law
from jaxsparse.rules.recursion import Recursion
from jaxsparse.trees import Mask, Tree

CONVENTIONS: tuple[str, ...] = ("torch", "keras", "optax", "paper")
INK = "#1c2126"
"""The colour of text, which a page swaps in dark mode."""

Chain: TypeAlias = tuple[optax.GradientTransformation, ...]
Numbers: TypeAlias = Mapping[str, float | bool]


@dataclass(frozen=True)
class Form:
    """One convention's form of a rule."""

    chain: Callable[..., Chain]
    """from the learning rate, and the hyperparameters by name, to what is done to gradients one after another"""
    defaults: Numbers
    """of all hyperparameters"""
    learning_rate: float | None = None
    """the library's default, where it has one"""
    wrap: Callable[..., optax.GradientTransformation] = lambda inner, learning_rate, **hyper: inner
    """what is put around chain and regularizer, from them, the learning rate and the hyperparameters"""


def in_one_form(
    chain: Callable[..., Chain],
    defaults: Numbers,
    wrap: Callable[..., optax.GradientTransformation] = Form.wrap,
) -> dict[str, Form]:
    """The forms of a rule that all who have it write alike, so that every convention stands for it."""
    return dict.fromkeys(CONVENTIONS, Form(chain, defaults, wrap=wrap))


def scaled(preconditioner: Callable[..., optax.GradientTransformation]) -> Callable[..., Chain]:
    """The chain of a rule whose learning rate scales what comes out of its preconditioner."""
    return lambda learning_rate, **hyper: (preconditioner(**hyper), optax.scale_by_learning_rate(learning_rate))


def rate_first(preconditioner: Callable[..., optax.GradientTransformation]) -> Callable[..., Chain]:
    """The chain of a rule whose learning rate scales what goes into its preconditioner."""
    return lambda learning_rate, **hyper: (optax.scale_by_learning_rate(learning_rate), preconditioner(**hyper))


@dataclass(frozen=True)
class Look:
    """How a rule is drawn."""

    color: str
    dashes: Literal["-", "--", "-.", ":"] | tuple[float, tuple[float, ...]] = "-"
    """a line style of matplotlib"""


@dataclass(frozen=True, eq=False, repr=False)
class Rule:
    """A rule of optimization.

        lion = Rule("lion", {"optax": Form(scaled(optax.scale_by_lion), {"b1": 0.9, "b2": 0.99})}, learning_rate=1e-4)
        tx = lion(1e-4, b1=0.95, regularizer=js.CoupledL2(1e-3), convention="optax")

    Attributes:
      name: letters, digits and `_ - . :`; what records, folders and the command line call it.
      forms: by convention; one that no library or paper has is left out.
      ranges: of the hyperparameters that are numbers; any finite number where there is none.
      learning_rate: what a grid trains with where nothing else is said: for the package's rules that of Mehta et al.
        2019 (section 2.1, and the caption of the supplement's figure 3).
      papers: hyperparameters that their section 2.1 states, which a grid has in place of torch's defaults.
      label: how it is written in a text; its name if not given.
      look: how it is drawn; if not given, as every other that has no look of its own.
      adaptive: whether gradients are divided by their own size; then coupled L2 is not weight decay.
      elementwise: whether what it does to a weight of a vector depends on that weight's gradients alone; unknown, and
        so False, of a function of another library.
      law: what coupled L2 alone does to one weight: from convention, learning rate, strength, hyperparameters and first
        weight to a `Recursion` (exact) or a `Law` (of the gain); none where it is not known.

    Raises:
      InvalidInput: naming the field and the allowed values.

    Example:
      >>> import jaxsparse as js
      >>> adam = js.rules.KNOWN["adam"]
      >>> adam.label, adam.learning_rate, sorted(adam.forms)
      ('Adam', 0.001, ['keras', 'optax', 'paper', 'torch'])
    """

    name: str
    forms: Mapping[str, Form]
    ranges: Mapping[str, Range] = field(default_factory=dict)
    learning_rate: float = 1e-3
    papers: Mapping[str, float] = field(default_factory=dict)
    label: str = ""
    look: Look | None = None
    adaptive: bool = True
    elementwise: bool = True
    law: Callable[[str, float, float, Mapping[str, Any], float], Law | Recursion] | None = None
    factory: Callable[..., Any] | None = None
    """the function of another library that it was made from"""

    def __post_init__(self) -> None:
        named = re.fullmatch(r"\w[\w.:-]*", self.name, re.ASCII) is not None
        require(named, "name", self.name, "made of letters, digits and _ - . :")
        require(len(self.forms) > 0, "forms", dict(self.forms), f"at least one of {' '.join(CONVENTIONS)}")
        for convention in self.forms:
            require_choice("convention", convention, CONVENTIONS)
        check_range("learning_rate", self.learning_rate, POSITIVE)
        object.__setattr__(self, "label", self.label or self.name)

    def __repr__(self) -> str:
        return f"Rule({self.name!r})"

    def form(self, convention: str) -> Form:
        """That of a convention.

        Raises:
          InvalidInput: for a convention that is unknown, or has no such rule.
        """
        require_choice("convention", convention, CONVENTIONS)
        require(convention in self.forms, "convention", convention, f"one of {' '.join(self.forms)} for {self.name}")
        return self.forms[convention]

    def defaults(self, convention: str = "torch") -> dict[str, float | bool]:
        """All hyperparameters, with the convention's defaults."""
        return dict(self.form(convention).defaults)

    def constants(self, convention: str = "torch") -> dict[str, float]:
        """The hyperparameters that are numbers: the convention's, under the papers' where it is `torch`."""
        known = self.defaults(convention).items()
        numbers = {name: float(value) for name, value in known if not isinstance(value, bool)}
        return numbers | dict(self.papers if convention == "torch" else {})

    def complete(self, convention: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """All hyperparameters: what is given, the convention's default for what is not or is None.

        Raises:
          InvalidInput: for an unknown one, or a concrete number out of range.
        """
        known = self.defaults(convention)
        for name in given:
            require_choice(f"hyperparameter of {self.name}", name, tuple(known))
        chosen: dict[str, Any] = known | {name: value for name, value in given.items() if value is not None}
        for name, value in chosen.items():
            if isinstance(known[name], bool):
                require(isinstance(value, bool), name, value, "True or False")
            else:
                check_range(name, value, self.ranges.get(name, FINITE))
        return chosen

    def __call__(
        self,
        learning_rate: LearningRate,
        *,
        regularizer: Regularizer | None = None,
        convention: str = "torch",
        mask: Mask | None = None,
        **hyper: Scalar | bool | None,
    ) -> optax.GradientTransformation:
        """The update rule at a learning rate, as an optax transformation.

        Args:
          learning_rate: a scalar > 0, or an optax schedule.
          regularizer: None, or one of `jaxsparse.regularizers`.
          convention: one of `forms`; hyperparameters not given have its `defaults`.
          mask: which parameters are regularized (default: all), as for `optax.masked`.
          **hyper: the hyperparameters by name.

        Raises:
          InvalidInput: for an unknown convention or hyperparameter, or a concrete number out of range.
        """
        form = self.form(convention)
        chosen = self.complete(convention, hyper)
        check_range("learning_rate", learning_rate, POSITIVE)
        require_regularizer(regularizer)
        inner = around(form.chain(learning_rate, **chosen), regularizer, learning_rate, mask)
        return _keep_types(form.wrap(inner, learning_rate, **chosen))

    def registered(self) -> str:
        """The name, by which this process finds the rule from now on.

        Raises:
          InvalidInput: where another rule has that name: a name stands for one rule, in records and compiled programs.
        """
        require(KNOWN.setdefault(self.name, self) is self, "optimizer", self.name, "a name that no other rule has")
        return self.name


KNOWN: dict[str, Rule] = {}
"""What this process knows by name: the package's rules, and those of others that it came across."""


def _keep_types(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """Gives updates and state the types that they had, which a hyperparameter of a wider type would change."""

    def update_fn(updates: Tree, state: optax.OptState, params: Tree = None) -> tuple[Tree, optax.OptState]:
        new_updates, new_state = inner.update(updates, state, params)
        return optax.tree.cast_like(new_updates, updates), optax.tree.cast_like(new_state, state)

    return optax.GradientTransformation(inner.init, update_fn)
