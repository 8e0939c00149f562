"""Networks, each built from explicit widths: a shrunk network is the same class with smaller widths and head."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Unpack

from jaxsparse.config import Run, require_choice
from jaxsparse.layers import Activation, activation
from jaxsparse.models.basicnet import BasicNet
from jaxsparse.models.block import Options
from jaxsparse.models.mlp import MLP
from jaxsparse.models.smallnet import BatraNet
from jaxsparse.models.vgg import GROUPS, VGG
from jaxsparse.models.wrn import WRN

__all__ = [
    "MLP",
    "VGG",
    "WRN",
    "BasicNet",
    "BatraNet",
    "Network",
    "activation_of",
    "build",
    "features_of",
    "names",
    "widths_alive",
    "widths_of",
]

Network = MLP | BasicNet | VGG | WRN | BatraNet


class _Entry(NamedTuple):
    """A network that has a name."""

    build: Callable[..., Network]
    widths: tuple[int, ...]
    features: str
    """path of the layers whose units count in the sparsity figures"""
    counted: slice = slice(None)
    """which of the widths are those of these layers"""


_NETWORKS = {
    "mlp": _Entry(MLP, MLP.WIDTHS, MLP.FEATURES),
    "basicnet": _Entry(BasicNet, BasicNet.WIDTHS, BasicNet.FEATURES),
    **{f"vgg-{depth}": _Entry(partial(VGG, depth), VGG.widths_of(depth), VGG.FEATURES) for depth in GROUPS},
    "wrn-16-8": _Entry(partial(WRN, 16, 8), WRN.widths_of(16, 8), WRN.FEATURES, WRN.COUNTED),
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


def build(
    name: str,
    *,
    shape: tuple[int, int, int],
    classes: int,
    widths: tuple[int, ...],
    head: tuple[int, ...] | None = None,
    **options: Unpack[Options],
) -> Network:
    """The named network for images of the given shape (height, width, channels).

    Args:
      widths: of its hidden layers.
      head: of the dense layers before the last one; the network's own where not given.
      options: what all blocks share: `activation`, `initial_beta`, `rngs`.

    Raises:
      InvalidInput: for an unknown network, or what does not fit it.
    """
    return _entry(name).build(classes, shape=shape, widths=widths, head=head, **options)
