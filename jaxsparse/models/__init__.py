"""Networks, each built from explicit widths: a shrunk network is the same class with smaller widths."""

from __future__ import annotations

from flax import nnx

from jaxsparse.config import require_choice
from jaxsparse.models.basicnet import BasicNet
from jaxsparse.models.mlp import MLP

__all__ = ["MLP", "BasicNet", "Network", "build", "names"]

Network = MLP | BasicNet

_NETWORKS: dict[str, type[MLP] | type[BasicNet]] = {"mlp": MLP, "basicnet": BasicNet}


def names() -> tuple[str, ...]:
    """Names of the networks, for `--model`."""
    return tuple(_NETWORKS)


def widths_of(name: str, width: float = 1.0, widths: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Units of each hidden layer: `widths` if given, else the network's own; multiplied by `width`, at least 1 each.

    Raises:
      InvalidInput: for an unknown network.
    """
    require_choice("model", name, names())
    return tuple(max(1, round(units * width)) for units in widths or _NETWORKS[name].WIDTHS)


def features_of(name: str) -> str:
    """Path of the layers whose units count in the sparsity figures.

    Raises:
      InvalidInput: for an unknown network.
    """
    require_choice("model", name, names())
    return _NETWORKS[name].FEATURES


def build(name: str, *, shape: tuple[int, int, int], classes: int, widths: tuple[int, ...], rngs: nnx.Rngs) -> Network:
    """The named network for images of the given shape (height, width, channels).

    Raises:
      InvalidInput: for an unknown network.
    """
    require_choice("model", name, names())
    return _NETWORKS[name](classes, shape=shape, widths=widths, rngs=rngs)
