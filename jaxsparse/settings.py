"""What a training may be given, with what it takes where nothing is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxsparse import importing
from jaxsparse.checks import require
from jaxsparse.criteria import Thresholds

if TYPE_CHECKING:
    from jaxsparse.config import Run, Target
    from jaxsparse.models import Model

POINTS = 25
"""Measurements during a training, where nothing else is said."""
FIRST_PHASE = 250 / 325
"""Share of a training at the initial learning rate, where nothing else is said (Mehta et al. 2019, section 2.1)."""


@dataclass(frozen=True)
class Settings:
    """What all trainings share, as flags of the command line and as arguments of `js.Grid`."""

    data: str = "digits"
    """data set: a name (`jaxsparse data list`), FILE.npz (x_train, y_train, x_test, y_test), a folder of images
    (train/CLASS/*.png, test/CLASS/*.png) or tfds:NAME"""
    model: str = "mlp"
    """network: mlp, basicnet, vgg-11, vgg-16, vgg-19, wrn-10-1, wrn-16-3, wrn-16-8, resnet-50, alexnet, batranet, or
    your own, package.module:function, which is called with rngs=.. and gives an nnx.Module"""
    loss: str | None = None
    """package.module:function of outputs and targets, such as optax:squared_error [cross-entropy of labels, squared
    error of real targets]"""
    width: float | None = None
    """multiplies the network's own widths"""
    widths: tuple[int, ...] = ()
    """units of each hidden layer (of convolutional networks: each convolution), instead of the network's own [basicnet:
    16 32 32 64; vgg, wrn: the network's own, divided by 8]"""
    head: tuple[int, ...] | None = None
    """units of the dense layers before the last one; no number: none [the network's own]"""
    pixels: str = "standardised"
    """what the network is fed: standardised (mean 0, deviation 1 per channel) or unit (from 0 to 1)"""
    activation: str = "relu"
    """activation function: relu, leaky-relu, elu, tanh or sigmoid"""
    slope: float = 0.01
    """of leaky-relu below zero"""
    initial_beta: float = 0.0
    """what the biases of all batch normalisations start at"""
    batch_norm: bool = True
    """normalise before each activation; without, layers have a bias"""
    batch_norm_parts: int = 1
    """equal parts of a batch that are normalised each on its own"""
    initialisation: str = "xavier"
    """what the kernels start as: xavier or he"""
    dropout: bool = False
    """drop activations in training (vgg only): 0.3 to 0.4 behind convolutions, 0.5 before dense layers"""
    gamma_rate: float = 1.0
    """learning rate of batch normalisations' scales, as a multiple of the others'"""
    beta_rate: float = 1.0
    """learning rate of batch normalisations' biases, as a multiple of the others'"""
    epochs: int | None = None
    """passes over the training set [mlp: 1000, your own: 100, others: 400]"""
    batch: int | None = None
    """images in a step [mlp and your own: 64, others: 40]"""
    precision: str = "float32"
    """of products and activations during training: float32 or bfloat16 (for accelerators); float64 for everything, with
    JAX_ENABLE_X64=true"""
    milestones: tuple[int, ...] | None = None
    """epochs after which the learning rate is multiplied by --factor [one, after 250/325 of the training]"""
    factor: float = 0.1
    """of the learning rate at each milestone"""
    restarts: int = 0
    """epochs in which the learning rate falls to zero along a cosine, then again; without milestones [0: never]"""
    measure_every: int | None = None
    """epochs between measurements; a divisor of --epochs [about 25 measurements]"""
    convention: str = "torch"
    """whose formulas and defaults the update rules follow: torch, keras, optax or paper"""
    threshold_scale: float = Thresholds.scale
    """a unit is dead by scale where |gamma| is below this"""
    threshold_activation: float = Thresholds.activation
    """a unit is dead by activation where it never exceeds this on the training set"""
    threshold_norm: float = Thresholds.norm
    """a unit is dead by norm where the L2 norm of its incoming weights is below this"""
    regularize: str = "all"
    """what the regularizer acts on: all, or some of kernels, biases, scales (gamma) and shifts (beta) joined by +, like
    kernels or kernels+biases"""
    learning_rate: float | None = None
    """initial learning rate [the paper's for each optimizer]"""
    thresholding: str = "none"
    """how weights become zero below a bound during training (Retsinas et al. 2020): none, binary-search or gaussian
    (the same sparsity in every layer), budget, hinge or unconstrained (bounds are trained)"""
    thresholded: str = "convolutions"
    """weights that have a bound: convolutions, or kernels (all)"""
    sparsity: tuple[float, ...] = ()
    """share of these that is to be zero; of several --density, one for all or one for each"""
    sparsity_strength: tuple[float, ...] = ()
    """lambda of the loss of trained bounds, such as 10; of several --density, one for all or one for each"""
    density: tuple[str, ...] = ("parameters",)
    """what trained bounds make small: parameters, flops or average (over layers)"""
    straight_through: bool = True
    """train zeroed weights as if they were not zero"""
    bound_rate: float | None = None
    """learning rate of trained bounds, as a multiple of the others' [sgd: 0.01, others: 1]"""

    def targets(self) -> tuple[Target, ...]:
        """Of thresholding, with what was given once for all densities given for each."""
        from jaxsparse.config import Target

        shares, strengths = self.sparsity, self.sparsity_strength or (0.0,)
        fits = bool(shares) or not self.sparsity_strength
        require(fits, "sparsity-strength", self.sparsity_strength, "left out without sparsity")
        most = max(len(shares), len(strengths))
        for name, values in (("sparsity", shares), ("sparsity-strength", strengths)):
            require(len(values) in (1, most) or not shares, name, values, "one number, or one for each density")
        each = [values * most if len(values) == 1 else values for values in (shares, strengths)]
        return tuple(Target(*pair) for pair in zip(*each, strict=False))

    def run(self, nesterov: bool = False) -> Run:
        """The static settings, with what was not given filled in."""
        from jaxsparse import data, models
        from jaxsparse.config import MOST_EPOCHS, Run

        own = isinstance(self.model, str) and ":" in self.model
        model: Model = importing.function(self.model, "model") if own else self.model
        scale = models.embedded_of(model)
        epochs = scale.epochs if self.epochs is None else self.epochs
        require(1 <= epochs <= MOST_EPOCHS, "epochs", epochs, f"a whole number from 1 to {MOST_EPOCHS}")
        first_phase = round(FIRST_PHASE * epochs)
        every = next(n for n in range(max(1, epochs // POINTS), epochs + 1) if epochs % n == 0)
        return Run(
            data=data.located(self.data),
            model=model,
            loss=None if self.loss is None else importing.function(self.loss, "loss"),
            width=1.0 if self.width is None else self.width,
            widths=self.widths or (scale.widths if self.width is None else ()),
            head=self.head,
            pixels=self.pixels,
            activation=self.activation,
            slope=self.slope,
            initial_beta=self.initial_beta,
            batch_norm=self.batch_norm,
            batch_norm_parts=self.batch_norm_parts,
            initialisation=self.initialisation,
            dropout=self.dropout,
            gamma_rate=self.gamma_rate,
            beta_rate=self.beta_rate,
            regularize=self.regularize,
            convention=self.convention,
            nesterov=nesterov,
            epochs=epochs,
            batch=scale.batch if self.batch is None else self.batch,
            precision=self.precision,
            milestones=(first_phase,) * (0 < first_phase < epochs and not self.restarts)
            if self.milestones is None
            else self.milestones,
            factor=self.factor,
            restarts=self.restarts,
            thresholding=self.thresholding,
            thresholded=self.thresholded,
            straight_through=self.straight_through,
            density=self.density,
            bound_rate=self.bound_rate,
            measure_every=every if self.measure_every is None else self.measure_every,
            thresholds=Thresholds(self.threshold_scale, self.threshold_activation, self.threshold_norm),
        )
