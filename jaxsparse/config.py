"""What a run is: `Run` decides the compiled program, `Hyper` is traced through it.

Two runs that differ only in `Hyper` and seed share one compilation, so a sweep over strengths, learning rates and
seeds compiles once for each (model, optimizer, form of regularizer).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax

from jaxsparse.checks import require, require_choice
from jaxsparse.criteria import Thresholds

PRECISIONS = ("float32", "bfloat16")
"""Of a training's products and activations."""
MOST_EPOCHS = 10**6
"""Of a training."""
DOUBLE = "float64"
"""Of everything in a training, to tell rounding from other differences; where JAX has it (`JAX_ENABLE_X64=true`)."""


@dataclass(frozen=True)
class Run:
    """The static part of a training run: hashable, and everything that decides the compiled program.

    Names are checked against the registries by whoever looks them up; numbers are checked here.

    Raises:
      InvalidInput: naming the field and the allowed values.

    Example:
      >>> import jaxsparse as js
      >>> run = js.Run(data="digits", widths=(50,), optimizer="adam", regularizer="l2", epochs=100, measure_every=20)
      >>> run.points
      5
      >>> js.Run(epochs=100, measure_every=30)
      Traceback (most recent call last):
          ...
      jaxsparse.checks.InvalidInput: measure-every must be a divisor of epochs (100), got 30
    """

    data: Any = "digits"
    """data set: a name (`jaxsparse data list`), a file or folder, or what `data.arrays` gives"""
    model: Any = "mlp"
    """network: a name, or what makes one, `model(rngs=..) -> nnx.Module`"""
    width: float = 1.0
    """multiplies the network's own widths (> 0)"""
    widths: tuple[int, ...] = ()
    """units per hidden layer; empty: the network's own, times width"""
    head: tuple[int, ...] | None = None
    """units of the dense layers before the last one (convolutional networks); none given: the network's own"""
    pixels: str = "standardised"
    """what networks are fed: `data.PIXELS`"""
    loss: Callable[[Any, Any], Any] | None = None
    """of outputs and targets `[n, ..]`, a value for each (`optax.squared_error`); None: what the targets want, see
    `losses.each`"""
    activation: str = "relu"
    """activation function: `layers.ACTIVATIONS`"""
    slope: float = 0.01
    """of leaky-relu below zero, in [0, 1)"""
    initial_beta: float = 0.0
    """what the biases of all batch normalisations start at (their scales start at 1)"""
    batch_norm: bool = True
    """whether blocks normalise before they activate; without, they have a bias and no unit can be dead by scale"""
    batch_norm_parts: int = 1
    """equal parts of a batch, normalised each on its own; with one for each device that shares a batch, they need not
    communicate there"""
    initialisation: str = "xavier"
    """what the kernels start as: `models.INITIALISATIONS`"""
    dropout: bool = False
    """in training, VGG only: `models.vgg.RATES`"""
    optimizer: str = "adam"
    """update rule: its name, or a `rules.Rule`, which is kept by its name"""
    regularizer: Any = "none"
    """form of the regularizer: a name, or a class"""
    regularize: str = "all"
    """which parameters the regularizer acts on: `trees.choice`"""
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
    precision: str = "float32"
    """of products and activations during training: float32 or bfloat16; weights, optimizer state and whatever is
    measured are float32. Or float64 for all of it, where JAX has that: `JAX_ENABLE_X64=true`"""
    milestones: tuple[int, ...] = ()
    """epochs after which the learning rate is multiplied by `factor`"""
    factor: float = 0.5
    """see `milestones`"""
    restarts: int = 0
    """epochs in which the learning rate falls to zero along a cosine, then again; in place of milestones. 0: never"""
    measure_every: int = 40
    """epochs between two measurements; it must divide `epochs`"""
    shrink_every: int = 0
    """epochs between two removals of dead units during training, a multiple of `measure_every`; 0: none is removed"""
    thresholding: str = "none"
    """how weights become zero below a bound during training: `thresholding.METHODS` (Retsinas et al. 2020)"""
    thresholded: str = "convolutions"
    """whose weights: `thresholding.THRESHOLDED`"""
    straight_through: bool = True
    """whether zeroed weights are trained on as if they were not zero"""
    density: tuple[str, ...] = ("parameters",)
    """what trained bounds are to make small, one term of the loss each, with a `Target` of its own:
    `thresholding.SHARES`"""
    bound_rate: float | None = None
    """learning rate of trained bounds, as a multiple (> 0) of the others': `thresholding.BOUND_RATES` if not given"""
    thresholds: Thresholds = field(default_factory=Thresholds)

    def __post_init__(self) -> None:
        rule: Any = self.optimizer
        if not isinstance(rule, str):
            require(hasattr(rule, "registered"), "optimizer", rule, "a name or a jaxsparse.rules.Rule")
            object.__setattr__(self, "optimizer", rule.registered())
        positive = "a finite number > 0"
        require(math.isfinite(self.width) and self.width > 0, "width", self.width, positive)
        require(all(width >= 1 for width in self.widths), "widths", self.widths, "whole numbers >= 1")
        require(all(units >= 1 for units in self.head or ()), "head", self.head, "whole numbers >= 1")
        require(0 <= self.slope < 1, "slope", self.slope, "in [0, 1)")
        require(math.isfinite(self.initial_beta), "initial-beta", self.initial_beta, "a finite number")
        for name, rate in (("gamma-rate", self.gamma_rate), ("beta-rate", self.beta_rate)):
            require(math.isfinite(rate) and rate > 0, name, rate, positive)
        for name, value, own in (
            ("initial-beta", self.initial_beta, 0.0),
            ("gamma-rate", self.gamma_rate, 1.0),
            ("beta-rate", self.beta_rate, 1.0),
        ):
            require(self.batch_norm or value == own, name, value, f"{own:g} without batch normalisation")
        inside = 1 <= self.epochs <= MOST_EPOCHS
        require(inside, "epochs", self.epochs, f"a whole number from 1 to {MOST_EPOCHS}")
        require(self.batch >= 1, "batch", self.batch, "a whole number >= 1")
        divides = self.batch_norm_parts >= 1 and self.batch % self.batch_norm_parts == 0
        require(divides, "batch-norm-parts", self.batch_norm_parts, f"a divisor of the batch ({self.batch})")
        known = (*PRECISIONS, DOUBLE) if jax.config.values["jax_enable_x64"] else PRECISIONS
        require_choice("precision", self.precision, known)
        require(math.isfinite(self.factor) and 0 < self.factor <= 1, "factor", self.factor, "in (0, 1]")
        inside = all(0 < epoch < self.epochs for epoch in self.milestones)
        rising = list(self.milestones) == sorted(set(self.milestones))
        require(inside and rising, "milestones", self.milestones, f"rising epochs between 1 and {self.epochs - 1}")
        fits = self.restarts >= 0 and not (self.restarts and self.milestones)
        require(fits, "restarts", self.restarts, "a whole number >= 0, and 0 beside milestones")
        require(len(self.density) > 0, "density", self.density, "at least one name")
        fits = self.bound_rate is None or (math.isfinite(self.bound_rate) and self.bound_rate > 0)
        require(fits, "bound-rate", self.bound_rate, positive)
        fits = not self.shrink_every or self.thresholding == "none"
        require(fits, "thresholding", self.thresholding, "none where shrink-every removes units")
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
class Target:
    """What thresholding is to reach, of the weights or of one of `Run.density`.

    Example:
      >>> import jax
      >>> import jaxsparse as js
      >>> train = js.make_train(js.Run(widths=(4,), thresholding="gaussian", thresholded="kernels"))
      >>> hyper = js.Hyper(1e-3, targets=(js.Target(sparsity=0.5),))
      >>> state = train.init(hyper, *train.start(jax.random.key(0)))
      >>> {name: round(float(bound), 3) for name, bound in state.bounds.items()}  # in standard deviations
      {'head/kernel': 0.674, 'hidden/0/linear/kernel': 0.674}
    """

    sparsity: float | jax.Array
    """share of zeros, in [0, 1); of a budget what is left, `B = 1 - sparsity`"""
    strength: float | jax.Array = 0.0
    """lambda >= 0 of this term of the loss of trained bounds"""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Hyper:
    """The traced part of a run: floats, or arrays of them with one entry a cell.

    Example:
      Two strengths in one compiled program; the second decay takes nine tenths of every weight in each step:

      >>> import jax
      >>> import jaxsparse as js
      >>> x, y = jax.numpy.eye(2), jax.numpy.arange(2)
      >>> mine = js.data.arrays((x, y), test=(x, y), name="mine")
      >>> run = js.Run(mine, widths=(4,), optimizer="sgd", regularizer="wd", batch=2, epochs=8, measure_every=8)
      >>> hyper = js.Hyper(learning_rate=jax.numpy.array([1e-3, 1e-3]), strength=jax.numpy.array([0.0, 0.9]))
      >>> mapped = jax.vmap(js.make_train(run), (0, None, None))
      >>> state, _ = mapped(hyper, jax.random.key(0), js.data.load(mine))
      >>> print((abs(state.params["hidden"][0]["norm"]["scale"]) < 1e-3).mean(1))  # share of dead units
      [0. 1.]
    """

    learning_rate: float | jax.Array
    strength: float | jax.Array = 0.0
    """of the regularizer"""
    constants: Mapping[str, float | jax.Array] = field(default_factory=dict)
    """the update rule's own hyperparameters, by optax's names (`b1`, `b2`, `eps`, ..)"""
    targets: tuple[Target, ...] = ()
    """of thresholding: one for each of `Run.density`, a single one where bounds are fixed, else none"""
