"""`explain`: what a line of PyTorch, Keras or optax does to a weight that the loss has forgotten.

The same words mean different things: `weight_decay` is an L2 penalty in `torch.optim.Adam`, and decoupled decay times
the learning rate in `torch.optim.AdamW`, `keras.optimizers` and optax. The line is parsed and never run.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from jaxsparse import rules, theory
from jaxsparse.checks import InvalidInput, require
from jaxsparse.regularizers import CoupledL2, DecoupledDecay

SMALL = 1e-3
"""Below which a weight that began at 1 counts as gone."""
_DECOUPLED: Mapping[str, str] = MappingProxyType({"adamw": "adam", "adamaxw": "adamax", "nadamw": "nadam"})
"""Rules that are another one with decoupled decay, by their names in lower case."""


class _Library(NamedTuple):
    """How a library writes its optimizers down."""

    path: str
    arguments: Mapping[str, str]
    """our name of a hyperparameter, by its own"""
    decays: Mapping[str, float]
    """default decay, by the name in lower case; 0 elsewhere"""
    coupled: bool
    """whether `weight_decay` is an L2 penalty in a rule that does not say otherwise by its name"""
    more: tuple[str, ...]
    """rules that it has beside the usual ones, as they are here"""
    decaying: tuple[str, ...] = ()
    """rules that take `weight_decay`, where not all do"""


_SHARED = {name: name for name in ("momentum", "nesterov", "rho", "initial_accumulator_value")}
_KERAS = {"beta_1": "b1", "beta_2": "b2", "epsilon": "eps", "learning_rate": "learning_rate"}
_OPTAX = {name: name for name in ("b1", "b2", "b3", "alpha", "eps", "eps_root", "decay", "learning_rate")}
_TORCH = {"lr": "learning_rate", "alpha": "decay", "eps": "eps", "betas[0]": "b1", "betas[1]": "b2"}
LIBRARIES: Mapping[str, _Library] = MappingProxyType(
    {
        "torch": _Library(
            "torch.optim",
            {**_SHARED, **_TORCH, "momentum_decay": "momentum_decay"},
            {"adamw": 1e-2},
            True,
            ("nadam", "radam"),
        ),
        "keras": _Library(
            "keras.optimizers",
            _SHARED | _KERAS,
            {"adamw": 4e-3},
            False,
            ("nadam", "lion"),
        ),
        "optax": _Library(
            "optax",
            _SHARED | _OPTAX,
            {"adamw": 1e-4, "adamaxw": 1e-4, "nadamw": 1e-4, "lion": 1e-3},
            False,
            ("nadam", "radam", "lion", "adan", "ademamix"),
            (*_DECOUPLED, "adadelta", "lion", "adan", "ademamix"),
        ),
    }
)
"""What `explain` knows, by the convention that it stands for."""


@dataclass(frozen=True)
class Explanation:
    """What a line of another library means.

    Attributes:
      convention: whose formulas the rule follows, as in `js.optimizer(.., convention=)`.
      optimizer: the rule's name here.
      learning_rate, hyper: of the rule; what the line leaves out has the library's default.
      regularizer: the same decay here; None where there is none.
      steps: after which a weight of 1 without loss gradient is below 1e-3; inf where never, nan where that is unknown.
    """

    convention: str
    optimizer: str
    learning_rate: float
    hyper: Mapping[str, float | bool]
    regularizer: CoupledL2 | DecoupledDecay | None
    steps: float

    @property
    def ours(self) -> str:
        """The same in jaxsparse."""
        more = [f"{name}={value!r}" for name, value in self.hyper.items()]
        if isinstance(self.regularizer, CoupledL2):
            more.append(f"regularizer=js.CoupledL2({self.regularizer.strength!r})")
        elif self.regularizer is not None:
            more.append(f'regularizer=js.DecoupledDecay({self.regularizer.strength!r}, scale="learning_rate")')
        convention = f'convention="{self.convention}"'
        return f'js.optimizer("{self.optimizer}", {", ".join([repr(self.learning_rate), *more, convention])})'

    def __str__(self) -> str:
        form = "no decay"
        if isinstance(self.regularizer, CoupledL2):
            form = "coupled: strength * weight is added to the gradient, before the rule scales it"
        elif self.regularizer is not None:
            form = "decoupled: after the step, learning rate * strength * weight is taken away"
        lives = "for ever" if math.isinf(self.steps) else f"for {self.steps:,.0f} steps"
        if math.isnan(self.steps):
            lives = "as long as `js.simulate` tells: there is no formula for it"
        return (
            f"rule         {self.optimizer}, as {LIBRARIES[self.convention].path} has it\n"
            f"decay        {form}\n"
            f"here         {self.ours}\n"
            f"one weight   without loss gradient it stays above {SMALL:g} of its size {lives}"
        )


def explain(line: str) -> Explanation:
    """Explains `torch.optim.Adam(params, weight_decay=1e-4)`, `optax.adamw(1e-3)`, `keras.optimizers.AdamW()` ...

    Known are SGD, Adam, AMSGrad, Adamax, RMSprop, Adagrad, Adadelta, and AdamW and AdamaxW, with numbers as arguments;
    and where a library has them, NAdam, NAdamW, RAdam, Lion, Adan and AdEMAMix. How long a weight lives is
    `theory.steps_to`, from docs/theory.md, where there is a law of the rule.

    Raises:
      InvalidInput: naming what is not known in the line.

    Example:
      >>> import jaxsparse as js
      >>> print(js.explain("torch.optim.Adam(p, lr=1e-3, weight_decay=1e-4)"))
      rule         adam, as torch.optim has it
      decay        coupled: strength * weight is added to the gradient, before the rule scales it
      here         js.optimizer("adam", 0.001, regularizer=js.CoupledL2(0.0001), convention="torch")
      one weight   without loss gradient it stays above 0.001 of its size for 2,722 steps
    """
    call = _call(line)
    *path, name = ast.unparse(call.func).split(".")
    library = {"torch": "torch", "keras": "keras", "tf": "keras", "optax": "optax"}.get(path[0] if path else "")
    require(library is not None, "line", line, "a call of torch.optim, keras.optimizers or optax")
    assert library is not None
    known, rule = LIBRARIES[library], name.lower()
    usual = dict.fromkeys((*rules.functions.__all__, *known.more, *_DECOUPLED))
    require(rule in usual, "line", name, "one of " + " ".join(usual))
    given = _arguments(call, library)
    decays = not known.decaying or rule in known.decaying
    require(decays or "weight_decay" not in given, "weight_decay", given.get("weight_decay"), f"left out for {name}")
    decay = given.pop("weight_decay", known.decays.get(rule, 0.0)) or 0.0
    coupled = known.coupled and rule not in _DECOUPLED and not given.pop("decoupled_weight_decay", False)
    rule = _DECOUPLED.get(rule, rule)
    if given.pop("amsgrad", False):
        require(rule == "adam", "amsgrad", True, f"left out for {name}")
        rule = "amsgrad"
    found: dict[str, Any] = {}
    takes = rules.defaults(rule, library)
    for argument, value in given.items():
        ours = known.arguments.get(argument)
        ours = "decay" if (library, rule, ours) == ("keras", "rmsprop", "rho") else ours
        allowed = [theirs for theirs, own in known.arguments.items() if own in takes or own == "learning_rate"]
        require(ours == "learning_rate" or ours in takes, "argument", argument, f"for {name}: {' '.join(allowed)}")
        assert ours is not None
        found[ours] = value
    rate = found.pop("learning_rate", rules.RULES[rule].form(library).learning_rate)
    require(rate is not None, "learning_rate", None, f"given: {known.path}.{name} has no default")
    assert rate is not None
    regularizer = None
    if decay:
        regularizer = CoupledL2(decay) if coupled else DecoupledDecay(decay, scale="learning_rate")
    lawless = rules.RULES[rule].law is None and isinstance(regularizer, CoupledL2)
    try:
        setting = {"learning_rate": rate, "init": 1.0, "convention": library, **found}
        steps = math.nan if lawless else theory.steps_to(SMALL, rule, regularizer, **setting)
    except ValueError as error:  # a number out of range, named
        raise InvalidInput(str(error)) from None
    return Explanation(library, rule, rate, found, regularizer, steps)


def _call(line: str) -> ast.Call:
    """The call that a line holds, also behind `tx =`."""
    try:
        statements = ast.parse(line.strip()).body
    except SyntaxError:
        statements = []
    value = getattr(statements[0], "value", None) if len(statements) == 1 else None
    require(isinstance(value, ast.Call), "line", line, "one call, such as torch.optim.Adam(params, weight_decay=1e-4)")
    assert isinstance(value, ast.Call)
    return value


def _arguments(call: ast.Call, library: str) -> dict[str, Any]:
    """Arguments of a call by name, as numbers; PyTorch's first one, the parameters, is left out."""
    first = ["params", "lr"] if library == "torch" else ["learning_rate"]
    require(
        len(call.args) <= len(first), "line", ast.unparse(call), f"with names for all arguments but {' '.join(first)}"
    )
    pairs = [*zip(first, call.args, strict=False), *((word.arg or "**", word.value) for word in call.keywords)]
    found: dict[str, Any] = {}
    for name, node in pairs:
        if name == "params":
            continue
        try:
            value = ast.literal_eval(node)
        except ValueError:
            value = None
            require(False, name, ast.unparse(node), "a number that stands in the line")
        if name == "betas":
            two = isinstance(value, tuple) and len(value) == 2 and all(isinstance(one, int | float) for one in value)
            require(two, name, value, "two numbers")
            assert isinstance(value, tuple)
            found |= dict(zip(("betas[0]", "betas[1]"), value, strict=True))
        else:
            number = isinstance(value, int | float) or (name == "weight_decay" and value is None)
            require(number, name, value, "a number")
            found[name] = value
    return found
