"""What a run is: `Run` decides the compiled program, `Hyper` is traced through it.

Two runs that differ only in `Hyper` and seed share one compilation, so a sweep over strengths, learning rates and
seeds compiles once for each (model, optimizer, form of regularizer).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import jax


class InvalidInput(ValueError):
    """Input that a person gave and can mend; its message is one line naming the field and the allowed values."""


def require(condition: bool, name: str, value: object, allowed: str) -> None:
    """Raises `InvalidInput` ("name must be allowed, got value") unless the condition holds."""
    if not condition:
        raise InvalidInput(f"{name} must be {allowed}, got {value!r}")


def require_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raises `InvalidInput` unless the value is one of the allowed ones."""
    require(value in allowed, name, value, "one of " + " ".join(allowed))


@dataclass(frozen=True)
class Thresholds:
    """When a unit counts as dead (Mehta et al. 2019, section 2.1; the norm's is not stated in any paper)."""

    scale: float = 1e-3
    """by scale: |gamma| below this"""
    activation: float = 1e-12
    """by activation: largest |activation| over the whole training set at most this"""
    norm: float = 1e-3
    """by norm: L2 norm of the incoming weights below this"""

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            require(math.isfinite(value) and value >= 0, f"threshold of {name}", value, "a finite number >= 0")


@dataclass(frozen=True)
class Run:
    """The static part of a training run: hashable, and everything that decides the compiled program.

    Names are checked against the registries by whoever looks them up; numbers are checked here.

    Raises:
      InvalidInput: naming the field and the allowed values.
    """

    data: str = "digits"
    """data set: `jaxsparse data list`"""
    model: str = "mlp"
    """network"""
    width: float = 1.0
    """multiplies the network's own widths (> 0)"""
    widths: tuple[int, ...] = ()
    """units per hidden layer; empty: the network's own, times width"""
    head: tuple[int, ...] | None = None
    """units of the dense layers before the last one (convolutional networks); none given: the network's own"""
    activation: str = "relu"
    """activation function: `layers.ACTIVATIONS`"""
    slope: float = 0.01
    """of leaky-relu below zero, in [0, 1)"""
    initial_beta: float = 0.0
    """what the biases of all batch normalisations start at (their scales start at 1)"""
    optimizer: str = "adam"
    """update rule"""
    regularizer: str = "none"
    """form of the regularizer"""
    convention: str = "torch"
    """whose formulas the update rule follows"""
    nesterov: bool = False
    """Nesterov's momentum (sgd only)"""
    gamma_rate: float = 1.0
    """learning rate of the scales of batch normalisations, as a multiple (> 0) of that of the other parameters"""
    beta_rate: float = 1.0
    """the same of their biases"""
    epochs: int = 2000
    """passes over the training set"""
    batch: int = 64
    """images in a step; the incomplete last batch of an epoch is left out"""
    milestones: tuple[int, ...] = ()
    """epochs after which the learning rate is multiplied by `factor`"""
    factor: float = 0.5
    """see `milestones`"""
    measure_every: int = 40
    """epochs between two measurements; it must divide `epochs`"""
    shrink_every: int = 0
    """epochs between two removals of dead units during training, a multiple of `measure_every`; 0: none is removed"""
    thresholds: Thresholds = field(default_factory=Thresholds)

    def __post_init__(self) -> None:
        positive = "a finite number > 0"
        require(math.isfinite(self.width) and self.width > 0, "width", self.width, positive)
        require(all(width >= 1 for width in self.widths), "widths", self.widths, "whole numbers >= 1")
        require(all(units >= 1 for units in self.head or ()), "head", self.head, "whole numbers >= 1")
        require(0 <= self.slope < 1, "slope", self.slope, "in [0, 1)")
        require(math.isfinite(self.initial_beta), "initial-beta", self.initial_beta, "a finite number")
        for name, rate in (("gamma-rate", self.gamma_rate), ("beta-rate", self.beta_rate)):
            require(math.isfinite(rate) and rate > 0, name, rate, positive)
        require(self.epochs >= 1, "epochs", self.epochs, "a whole number >= 1")
        require(self.batch >= 1, "batch", self.batch, "a whole number >= 1")
        require(math.isfinite(self.factor) and 0 < self.factor <= 1, "factor", self.factor, "in (0, 1]")
        inside = all(0 < epoch < self.epochs for epoch in self.milestones)
        rising = list(self.milestones) == sorted(set(self.milestones))
        require(inside and rising, "milestones", self.milestones, f"rising epochs between 1 and {self.epochs - 1}")
        divides = self.measure_every >= 1 and self.epochs % self.measure_every == 0
        require(divides, "measure-every", self.measure_every, f"a divisor of epochs ({self.epochs})")
        fits = self.shrink_every >= 0 and self.shrink_every % self.measure_every == 0
        require(fits, "shrink-every", self.shrink_every, f"0 or a multiple of measure-every ({self.measure_every})")

    @property
    def points(self) -> int:
        """How many times the run is measured."""
        return self.epochs // self.measure_every


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Hyper:
    """The traced part of a run: floats, or arrays of them with one entry a cell."""

    learning_rate: float | jax.Array
    strength: float | jax.Array = 0.0
    """of the regularizer"""
    constants: Mapping[str, float | jax.Array] = field(default_factory=dict)
    """the update rule's own hyperparameters, by optax's names (`b1`, `b2`, `eps`, ..)"""
