"""What `jaxsparse decay` simulates: optimizers, regularizers and strengths under one protocol."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import optax
import tyro

from jaxsparse import regularizers, rules
from jaxsparse.checks import require, require_choice
from jaxsparse.dynamics import alone, protocols
from jaxsparse.grid.declaration import MOST_CELLS

STEPS = 100_000
"""Where nothing else is said."""
RANDOM_SEEDS = 3
"""Where nothing else is said, for a protocol that draws random numbers; others have one."""
REGULARIZERS = tuple(name for name in regularizers.NAMES if not name.endswith("group-lasso"))
"""Those that act on a single weight."""


@dataclass(frozen=True)
class Plan:
    """What is simulated: the product of optimizers, regularizers, strengths and seeds under one protocol.

    Raises:
      InvalidInput: naming the field and the allowed values.
    """

    optimizers: tuple[str, ...] = tuple(rules.functions.__all__)
    """names, or module:name of a rule that is elsewhere, such as optax:lion"""
    regularizers: tuple[str, ...] = ("l2", "wd", "wd-lr")
    """none, l2 (coupled), wd (decoupled, follows the schedule), wd-lr (AdamW's), wd-cautious, wd-to-start, spred (L2 of
    factors), bn-l1"""
    strengths: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    """of every regularizer but none"""
    protocol: str = "low-gradient"
    """the loss gradient: low-gradient, low-gradient-variance, zero-gradient, sparse-gradient, or a .npy or .csv file"""
    init: float | None = None
    """the weight at the start [low-gradient, sparse-gradient and files: 1, zero-gradient: 0.2]"""
    steps: int | None = None
    """updates [100000, or as many as the file has]"""
    seeds: int | None = None
    """how many, from 0; for a file, seed i takes column i [3 for random gradients, else 1]"""
    convention: str = "torch"
    """whose formulas and defaults the update rules follow: torch, keras, optax or paper"""
    learning_rate: float | None = None
    """of every optimizer [the paper's for each]"""
    constants: tyro.conf.SuppressFixed[tyro.conf.Fixed[Mapping[str, float]]] = field(default_factory=dict)
    """hyperparameters that replace the papers', for every optimizer that has them"""

    def __post_init__(self) -> None:
        source = protocols.protocol(self.protocol)
        for flag, allowed in (("optimizers", rules.NAMES), ("regularizers", REGULARIZERS)):
            names = getattr(self, flag)
            require(len(names) > 0, flag, names, f"at least one of {' '.join(allowed)}")
        object.__setattr__(self, "optimizers", tuple(rules.resolve(one, "optimizers").name for one in self.optimizers))
        for name in self.regularizers:
            require_choice("regularizers", name, REGULARIZERS)
        require_choice("convention", self.convention, rules.CONVENTIONS)
        regularizers.require_strengths(self.strengths, self.regularizers)
        for flag in ("optimizers", "regularizers", "strengths"):
            values = getattr(self, flag)
            require(len(set(values)) == len(values), flag, values, "without repetition")
        require(self.init is None or math.isfinite(self.init), "init", self.init, "a finite number")
        most = source.steps if isinstance(source, protocols.Trace) else 2**31 - 2
        require(self.steps is None or 1 <= self.steps <= most, "steps", self.steps, f"a whole number from 1 to {most}")
        inside = self.seeds is None or 1 <= self.seeds <= MOST_CELLS
        require(inside, "seeds", self.seeds, f"a whole number from 1 to {MOST_CELLS}")
        rate = self.learning_rate
        fine = rate is None or (math.isfinite(rate) and rate > 0)
        require(fine, "learning_rate", rate, "a finite number > 0")
        known = {name for optimizer in self.optimizers for name in self._constants_of(optimizer)}
        for name, value in self.constants.items():
            require(name in known, name, value, f"a hyperparameter of {' '.join(self.optimizers)}")

    def complete(self) -> Plan:
        """The same with what was not given filled in, but the learning rate, which differs between optimizers."""
        source = protocols.protocol(self.protocol)
        traced = isinstance(source, protocols.Trace)
        return replace(
            self,
            init=source.initial if self.init is None else self.init,
            steps=self.steps or (min(STEPS, source.steps) if traced else STEPS),
            seeds=self.seeds or (RANDOM_SEEDS if source.is_random else 1),
        )

    def learning_rate_of(self, optimizer: str) -> float:
        """That of an optimizer: the paper's, where none was given."""
        return rules.resolve(optimizer).learning_rate if self.learning_rate is None else self.learning_rate

    def constants_of(self, optimizer: str) -> dict[str, float]:
        """Hyperparameters of an optimizer."""
        return {name: self.constants.get(name, value) for name, value in self._constants_of(optimizer).items()}

    def _constants_of(self, optimizer: str) -> dict[str, float]:
        """The same where `constants` does not replace them."""
        return rules.resolve(optimizer).constants(self.convention)

    def rule(
        self, optimizer: str, regularizer: str, strength: Any, learning_rate: Any = None
    ) -> optax.GradientTransformation:
        """The update rule of an optimizer with a regularizer; strength and learning rate may be arrays."""
        return rules.optimizer(
            optimizer,
            self.learning_rate_of(optimizer) if learning_rate is None else learning_rate,
            regularizer=regularizers.regularizer(regularizer, strength),
            convention=self.convention,
            **dict[str, Any](self.constants_of(optimizer)),
        )

    def rules_of(self, optimizer: str, regularizer: str) -> Callable[[Any], optax.GradientTransformation]:
        """From a strength, or a strength and a learning rate, each perhaps an array `[n]`, to the rule of n weights
        that do not know of each other, as `simulate` takes it."""

        def of(settings: tuple[Any, ...]) -> optax.GradientTransformation:
            return self.rule(optimizer, regularizer, *settings)

        return of if rules.resolve(optimizer).elementwise else alone(of)


ZERO_GRADIENT = Plan(regularizers=("l2",), strengths=(5e-4,), protocol="zero-gradient", steps=4000)
"""Yaguchi et al. 2018, Figure 4 and Theorem III.2, at the strength of our choice: the paper's is lost."""

CONVENTIONS = tuple(
    Plan(
        optimizers=("adam", "amsgrad", "rmsprop", "adagrad"),
        regularizers=("l2",),
        strengths=(1e-3,),
        protocol="zero-gradient",
        init=1.0,
        steps=STEPS,
        convention=convention,
        constants={"b2": 0.99, "decay": 0.9},
    )
    for convention in rules.CONVENTIONS
)
"""The same rules in each convention with equally long memories: epsilon differs, and what Adagrad starts at."""
