"""What an adaptive rule with coupled L2 makes of one weight without loss gradient: the gain, and what it is made of.

With g = strength * w every adaptive rule of this package is momentum SGD, `m <- b1 m + (1 - b1) w`, `w <- w - G_t m`,
with a gain `G_t = learning_rate * strength / denominator_t` that drifts. A `Law` says the denominator and how the
accumulators go on over a block of steps in which the gain is frozen; `jaxsparse.theory` chooses the blocks. Rules
differ from the one here, whose denominator is the root of a mean of squares, by the methods that they replace. Float64
NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

import numpy as np

from jaxsparse.rules.recursion import Recursion


class State(NamedTuple):
    """The accumulators, in units of w: moments of g divided by strength, or strength^2."""

    weight: float
    momentum: float = 0.0
    second: float = 0.0
    """running mean (Adagrad: sum) of w^2; Adamax: running maximum of |w|"""
    top: float = 0.0
    """AMSGrad: largest second so far"""
    moves: float = 0.0
    """Adadelta: running mean square of its steps, before the learning rate"""


class Block(NamedTuple):
    """Some steps with one gain: the weight's path, and that of the first moment."""

    length: int
    gain: float
    path: Recursion
    momentum: Recursion


def correction(b: float, t: int) -> float:
    """`1 - b^t`."""
    return -math.expm1(t * math.log(b)) if b > 0 else 1.0


@dataclass(frozen=True)
class Law:
    """An adaptive rule with coupled L2. Formulas: docs/conventions.md."""

    convention: str
    learning_rate: float
    strength: float
    hyper: Mapping[str, float]
    init: float

    forgets: ClassVar[bool] = False
    """whether the gain has no bound but epsilon's: the second moment of a weight that has vanished is forgotten"""
    needs_short_blocks: ClassVar[bool] = False
    """whether the gain is made of small differences, and may drift less within a block"""
    rate_has_no_unit: ClassVar[bool] = False
    """whether the learning rate is a share of the rule's own step, and not compared with the weight"""

    @cached_property
    def b1(self) -> float:
        return self.hyper.get("b1", 0.0)

    @cached_property
    def memory(self) -> float:
        """What is kept of the second moment in a step."""
        return next((self.hyper[name] for name in ("b2", "decay", "rho") if name in self.hyper), 1.0)

    @cached_property
    def share(self) -> float:
        """What a square adds to the second moment."""
        return 1 - self.memory

    @cached_property
    def eps(self) -> float:
        """Epsilon outside the root, in units of w."""
        return self.hyper["eps"] / self.strength

    @cached_property
    def eps_inside(self) -> float:
        """Epsilon inside the root, in units of w^2."""
        return self.hyper["eps"] / self.strength**2

    @cached_property
    def inside(self) -> bool:
        """Whether epsilon is inside the root."""
        return False

    @property
    def has_cycle(self) -> bool:
        """Whether `theory.cycle_amplitude` holds where zero is unstable."""
        return False

    @property
    def comes_back(self) -> bool:
        """Whether zero is unstable once the second moment has been forgotten, so that a vanished weight grows again."""
        floor = math.sqrt(self.eps_inside) if self.inside else self.eps
        return self.forgets and self.learning_rate * (1 - self.b1) > 2 * (1 + self.b1) * floor

    def start(self) -> State:
        """Before the first step."""
        return State(self.init, second=self.hyper.get("initial_accumulator_value", 0.0) / self.strength**2)

    def gain(self, t: int, state: State) -> float:
        """G of step t, from the accumulators that hold the gradient of that step; 0/0 is 0."""
        denominator = self.denominator(t, state)
        return self.learning_rate / denominator if denominator else 0.0

    def last_gain(self, t: int, state: State, block: Block, after: State) -> float:
        """The gain of the last step of a block that starts after step t, from the states around it."""
        del state
        return self.gain(t + block.length, after)

    def denominator(self, t: int, state: State) -> float:
        """What the first moment is divided by."""
        del t
        return math.sqrt(state.second + self.eps_inside) if self.inside else math.sqrt(state.second) + self.eps

    def advance(self, state: State, t: int, block: Block) -> State:
        """The state after a block that starts after step t."""
        weight, momentum = float(block.path.at(block.length)), float(block.momentum.at(block.length))
        return self.accumulate(state, t, block)._replace(weight=weight, momentum=momentum)

    def accumulate(self, state: State, t: int, block: Block) -> State:
        """The accumulators after a block; a step sees the weight that it starts from."""
        del t
        return state._replace(second=self.second(state, block))

    def watched(self, states: Sequence[State]) -> list[float]:
        """What may not change much either within a block, from the states along it."""
        del states
        return []

    def second(self, state: State, block: Block) -> float:
        """Second moment after a block: (w^2, w m, m^2, second) follow a linear map, here to the power of the length."""
        w, m = state.weight, state.momentum
        if block.length == 1:
            return self.memory * state.second + self.share * w**2
        c = 1 - self.b1
        p, q = 1 - block.gain * c, -block.gain * self.b1
        step = np.array(
            [
                [p * p, 2 * p * q, q * q, 0.0],
                [p * c, p * self.b1 + q * c, q * self.b1, 0.0],
                [c * c, 2 * c * self.b1, self.b1**2, 0.0],
                [self.share, 0.0, 0.0, self.memory],
            ]
        )
        moments = np.array([w * w, w * m, m * m, state.second])
        return float((np.linalg.matrix_power(step, block.length) @ moments)[3])
