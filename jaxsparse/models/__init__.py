"""Networks, each built from explicit widths: a shrunk network is the same class with smaller widths and head."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Unpack

from flax import nnx

from jaxsparse.config import Run, require, require_choice
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
    "features_of",
    "initialisation_of",
    "names",
    "thinned",
    "widths_alive",
    "widths_of",
]

Network = MLP | BasicNet | VGG | WRN | BatraNet | AlexNet | ResNet50


class _Entry(NamedTuple):
    """A network that has a name."""

    build: Callable[..., Network]
    widths: tuple[int, ...]
    features: str
    """path of the layers whose units count in the sparsity figures"""
    counted: slice = slice(None)
    """which of the widths are those of these layers"""
    dropout: bool = False
    """whether it can be built with dropout"""


_NETWORKS = {
    "mlp": _Entry(MLP, MLP.WIDTHS, MLP.FEATURES),
    "basicnet": _Entry(BasicNet, BasicNet.WIDTHS, BasicNet.FEATURES),
    **{
        f"vgg-{depth}": _Entry(partial(VGG, depth), VGG.widths_of(depth), VGG.FEATURES, dropout=True)
        for depth in GROUPS
    },
    **{
        f"wrn-{depth}-{widen}": _Entry(
            partial(WRN, depth, widen), WRN.widths_of(depth, widen), WRN.FEATURES, WRN.COUNTED
        )
        for depth, widen in ((10, 1), (16, 3), (16, 8))
    },
    "resnet-50": _Entry(ResNet50, ResNet50.WIDTHS, ResNet50.FEATURES, ResNet50.COUNTED),
    "alexnet": _Entry(AlexNet, AlexNet.WIDTHS, AlexNet.FEATURES),
    "batranet": _Entry(BatraNet, BatraNet.WIDTHS, BatraNet.FEATURES),
}


def names() -> tuple[str, ...]:
    """Names of the networks, for `--model`."""
    return tuple(_NETWORKS)


def _entry(name: str) -> _Entry:
    require_choice("model", name, names())
    return _NETWORKS[name]


def widths_of(name: str, width: float = 1.0, widths: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Units of each hidden layer: `widths` if given, else the network's own; multiplied by `width`, at least 1 each.

    Raises:
      InvalidInput: for an unknown network.
    """
    return tuple(max(1, round(units * width)) for units in widths or _entry(name).widths)


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


def features_of(name: str) -> str:
    """Path of the layers whose units count in the sparsity figures.

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
    name: str,
    *,
    shape: tuple[int, int, int],
    classes: int,
    widths: tuple[int, ...],
    head: tuple[int, ...] | None = None,
    dropout: bool = False,
    **options: Unpack[Options],
) -> Network:
    """The named network for images of the given shape (height, width, channels).

    Args:
      widths: of its hidden layers.
      head: of the dense layers before the last one; the network's own where not given.
      dropout: whether activations are dropped in training, which only VGGs know.
      options: what all blocks share, `Options`.

    Raises:
      InvalidInput: for an unknown network, or what does not fit it.
    """
    entry = _entry(name)
    require(entry.dropout or not dropout, "dropout", dropout, f"left out for {name}: only VGGs know it")
    dropping = {"dropout": True} if dropout else {}
    return entry.build(classes, shape=shape, widths=widths, head=head, **dropping, **options)
