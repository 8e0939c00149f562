"""Networks, each built from explicit widths: a shrunk network is the same class with smaller widths and head."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias, Unpack

from flax import nnx

from jaxsparse.checks import InvalidInput, name_of, require, require_choice
from jaxsparse.config import Run
from jaxsparse.layers import Activation, activation
from jaxsparse.models.alexnet import AlexNet
from jaxsparse.models.basicnet import BasicNet
from jaxsparse.models.block import INITIALISATIONS, Options
from jaxsparse.models.mlp import MLP
from jaxsparse.models.resnet import ResNet50
from jaxsparse.models.smallnet import BatraNet
from jaxsparse.models.vgg import GROUPS, VGG
from jaxsparse.models.wrn import WRN

__all__ = [
    "INITIALISATIONS",
    "MLP",
    "VGG",
    "WRN",
    "AlexNet",
    "BasicNet",
    "BatraNet",
    "Network",
    "ResNet50",
    "activation_of",
    "build",
    "embedded_of",
    "features_of",
    "initialisation_of",
    "is_known",
    "names",
    "require_settings",
    "thinned",
    "widths_alive",
    "widths_of",
]

Network = MLP | BasicNet | VGG | WRN | BatraNet | AlexNet | ResNet50


class Embedded(NamedTuple):
    """How long a network trains on embedded data, and how wide it is, where nothing else is said."""

    epochs: int
    batch: int
    widths: tuple[int, ...] = ()
    """the network's own where empty"""


CONVOLUTIONAL = Embedded(epochs=400, batch=40)
OWN = Embedded(epochs=100, batch=64)
"""Of a network of a person's own."""


class _Entry(NamedTuple):
    """A network that has a name."""

    build: Callable[..., Any]
    widths: tuple[int, ...]
    features: str
    """path of the layers whose units count in the sparsity figures"""
    counted: slice = slice(None)
    """which of the widths are those of these layers"""
    dropout: bool = False
    """whether it can be built with dropout"""
    images: bool = True
    """whether it takes images only, not examples of any shape"""
    embedded: Embedded | None = None
    """none given: of convolutional networks, at an eighth of its widths"""


_NETWORKS = {
    "mlp": _Entry(MLP, MLP.WIDTHS, MLP.FEATURES, images=False, embedded=Embedded(epochs=1000, batch=64)),
    "basicnet": _Entry(
        BasicNet, BasicNet.WIDTHS, BasicNet.FEATURES, embedded=CONVOLUTIONAL._replace(widths=(16, 32, 32, 64))
    ),
    **{
        f"vgg-{depth}": _Entry(partial(VGG, depth), VGG.widths_of(depth), VGG.FEATURES, dropout=True)
        for depth in GROUPS
    },
    **{
        f"wrn-{depth}-{widen}": _Entry(
            partial(WRN, depth, widen),
            WRN.widths_of(depth, widen),
            WRN.FEATURES,
            WRN.COUNTED,
            embedded=CONVOLUTIONAL if widen == 1 else None,
        )
        for depth, widen in ((10, 1), (16, 3), (16, 8))
    },
    "resnet-50": _Entry(ResNet50, ResNet50.WIDTHS, ResNet50.FEATURES, ResNet50.COUNTED),
    "alexnet": _Entry(AlexNet, AlexNet.WIDTHS, AlexNet.FEATURES),
    "batranet": _Entry(BatraNet, BatraNet.WIDTHS, BatraNet.FEATURES, embedded=CONVOLUTIONAL),
}


def names() -> tuple[str, ...]:
    """Names of the networks, for `--model`.

    Example:
      >>> import jaxsparse as js
      >>> print(*js.models.names())
      mlp basicnet vgg-11 vgg-16 vgg-19 wrn-10-1 wrn-16-3 wrn-16-8 resnet-50 alexnet batranet
    """
    return tuple(_NETWORKS)


Model: TypeAlias = str | Callable[..., Any]
"""A network by its name, or what makes one of a person's own: `model(rngs=..) -> nnx.Module`."""
OWN_SETTINGS = ("width", "widths", "head", "activation", "slope", "initial_beta", "batch_norm", "batch_norm_parts")
OWN_SETTINGS += ("initialisation", "dropout")
"""Fields of a `Run` that say how one of our networks is built."""


def is_known(model: Model) -> bool:
    """Whether it is one of our networks."""
    return isinstance(model, str) and model in _NETWORKS


def _entry(model: Model) -> _Entry:
    if callable(model):
        return _Entry(partial(_own, model), (), "", images=False, embedded=OWN)
    if model not in _NETWORKS and ":" in model:
        raise InvalidInput(f"model must be given, as a record never imports code: {model}")
    require_choice("model", model, names())
    return _NETWORKS[model]


def _own(model: Callable[..., Any], classes: int, *, rngs: nnx.Rngs, **ours: Any) -> nnx.Module:
    """A network of a person's own, in training mode; what else ours are built with is its own affair.

    Raises:
      InvalidInput: for what can't be called like this, or makes something else.
    """
    del classes, ours
    allowed = "a name, or callable as model(rngs=..) and then an nnx.Module"
    try:
        inspect.signature(model).bind(rngs=rngs)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"model must be {allowed}, got {name_of(model)} ({error})") from None
    made = model(rngs=rngs)
    require(isinstance(made, nnx.Module), "model", type(made).__name__, allowed)
    made.train()
    return made


def require_settings(run: Run) -> None:
    """Raises `InvalidInput` for a setting of our networks beside one of a person's own."""
    if isinstance(run.model, str):
        return
    for name in OWN_SETTINGS:
        given, usual = getattr(run, name), getattr(Run, name, None)
        told = f"left out, {name_of(run.model)} is no network of this package"
        require(given == usual, name.replace("_", "-"), given, told)


def widths_of(name: Model, width: float = 1.0, widths: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Units of each hidden layer: `widths` if given, else the network's own; multiplied by `width`, at least 1 each.

    Raises:
      InvalidInput: for an unknown network.
    """
    return tuple(max(1, round(units * width)) for units in widths or _entry(name).widths)


def embedded_of(model: Model) -> Embedded:
    """How a network is trained on embedded data where nothing else is said.

    Raises:
      InvalidInput: for an unknown network.
    """
    return _entry(model).embedded or CONVOLUTIONAL._replace(widths=widths_of(model, 1 / 8))


def thinned(widths: tuple[int, ...], share: float) -> tuple[int, ...]:
    """Widths of a dense network with about this share of the parameters, `floor(sqrt(share) C)` each, at least 1:
    Retsinas et al. 2020, equation 12.

    Raises:
      InvalidInput: for a share outside of (0, 1].
    """
    require(0 < share <= 1, "share", share, "in (0, 1]")
    return tuple(max(1, math.floor(math.sqrt(share) * units)) for units in widths)


def widths_alive(run: Run, alive: tuple[int, ...]) -> tuple[int, ...]:
    """Widths of a run's network with only so many units in each of the layers that count (`features_of`)."""
    widths = list(widths_of(run.model, run.width, run.widths))
    widths[_entry(run.model).counted] = alive
    return tuple(widths)


def features_of(name: Model) -> str:
    """Path of the layers whose units count in the sparsity figures; empty, for all, in a network of a person's own.

    Raises:
      InvalidInput: for an unknown network.
    """
    return _entry(name).features


def activation_of(run: Run) -> Activation:
    """The activation function of a run.

    Raises:
      InvalidInput: for an unknown one.
    """
    return activation(run.activation, run.slope)


def initialisation_of(run: Run) -> nnx.Initializer:
    """What the kernels of a run's network start as.

    Raises:
      InvalidInput: for an unknown initialisation.
    """
    require_choice("initialisation", run.initialisation, tuple(INITIALISATIONS))
    return INITIALISATIONS[run.initialisation]


def build(
    name: Model,
    *,
    shape: tuple[int, ...],
    classes: int,
    widths: tuple[int, ...],
    head: tuple[int, ...] | None = None,
    dropout: bool = False,
    **options: Unpack[Options],
) -> Network:
    """The network for examples of the given shape (of images: height, width, channels).

    Args:
      name: one of `names`, or what makes a network of your own, called as `model(rngs=..)`.
      shape: of an example, without the axis of a batch.
      classes: how many logits it gives.
      widths: of its hidden layers.
      head: of the dense layers before the last one; the network's own where not given.
      dropout: whether activations are dropped in training, which only VGGs know.
      options: what all blocks share, `Options`.

    Raises:
      InvalidInput: for an unknown network, or what does not fit it.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> from flax import nnx
      >>> model = js.models.build("vgg-11", shape=(8, 8, 1), classes=10, widths=(4, 6), head=(), rngs=nnx.Rngs(0))
      >>> model(jnp.ones((2, 8, 8, 1))).shape, [block.linear.kernel.shape for block in model.convolutions]
      ((2, 10), [(3, 3, 1, 4), (3, 3, 4, 6)])
    """
    entry = _entry(name)
    fits = not entry.images or len(shape) == 3
    require(fits, "model", name, f"a network of your own for examples of the shape {list(shape)}: {name} takes images")
    require(entry.dropout or not dropout, "dropout", dropout, f"left out for {name}: only VGGs know it")
    dropping = {"dropout": True} if dropout else {}
    return entry.build(classes, shape=shape, widths=widths, head=head, **dropping, **options)
