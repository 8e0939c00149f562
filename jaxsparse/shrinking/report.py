"""What the shrinker did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import numpy as np

from jaxsparse.checks import require
from jaxsparse.shrinking.cutting import Cut
from jaxsparse.sparsity import ByLayer
from jaxsparse.trees import Tree, flatten


@dataclass(frozen=True)
class LayerReport:
    """One layer, named as in `sparsity.measure`.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> from flax import nnx
      >>> model = js.models.MLP(2, shape=(3,), widths=(4,), initial_beta=0.5, rngs=nnx.Rngs(0))
      >>> model.hidden[0].norm.scale[1] = 0.0
      >>> layer = js.shrink(model, jnp.ones((5, 3)))[1].layers["hidden/0"]
      >>> layer.before, layer.after, layer.kept, layer.folded  # the dead unit's relu(0.5) is in the head's bias now
      (4, 3, array([0, 2, 3]), array([1]))
    """

    dead: np.ndarray
    """booleans `[units]`: those asked for"""
    kept: np.ndarray
    """positions of the units that are still there, rising"""
    folded: np.ndarray
    """positions of removed units whose constant was not zero and went into a bias or running mean further on"""
    reasons: Mapping[int, str]
    """why a dead unit is still there, by its position"""

    @property
    def before(self) -> int:
        return len(self.dead)

    @property
    def after(self) -> int:
        return len(self.kept)

    @property
    def followed(self) -> np.ndarray:
        """Positions of units that were not asked for but became superfluous: what they put out is constant or is not
        read by anything that is left."""
        gone = np.setdiff1d(np.arange(self.before), self.kept)
        return gone[~self.dead[gone]]


@dataclass(frozen=True)
class Report:
    """What `shrink` did.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> from flax import nnx
      >>> model = js.models.MLP(2, shape=(3,), widths=(4,), rngs=nnx.Rngs(0))
      >>> model.hidden[0].norm.scale[1] = 0.0
      >>> _, report = js.shrink(model, jnp.ones((5, 3)))
      >>> report.widths, report.removed, report.parameters_before, report.parameters_after
      ({'head': (2, 2), 'hidden/0': (4, 3)}, {'hidden/0': 1}, 30, 23)
      >>> averages = report.apply(nnx.state(model, nnx.Param))  # of moving averages of the weights, say
      >>> averages["head"]["kernel"].shape
      (3, 2)
    """

    layers: Mapping[str, LayerReport]
    cut: Cut
    """kept positions of every array; `cut.apply` cuts an optimizer's state"""
    unknown: Mapping[str, int]
    """primitives that no rule knows, with how often each occurs; what goes into one is kept whole"""
    parameters_before: int
    parameters_after: int
    difference: float
    """largest |masked - shrunk| output on the example and on random inputs, of other sizes too; see `masked`"""
    change: float
    """largest |given - shrunk| output on the example: what the dead units still did"""
    notes: tuple[str, ...] = ()
    """what else a reader should know, one sentence each"""

    def apply(self, tree: Tree) -> Tree:
        """A copy of the weights (a moving average, say) as weights of the smaller network: cut, and with the constants
        that its own removed units put out folded into what follows.

        Args:
          tree: like the parameters of the network before, with their names.

        Raises:
          InvalidInput: for a tree that lacks a parameter, or whose constants have nowhere to go.
        """
        given = flatten(tree)
        for name, leaf in self.cut.weights.items():
            shape = np.shape(given[name]) if name in given else None
            require(shape == np.shape(leaf), f"tree[{name!r}]", shape, f"an array of shape {np.shape(leaf)}")
        if self.cut.fold is None:
            return self.cut.apply(tree)
        folded = self.cut.fold({name: given[name] for name in self.cut.weights})
        leaves = [folded.get(name, leaf) for name, leaf in given.items()]
        return jax.tree.unflatten(jax.tree.structure(tree), leaves)

    @property
    def removed(self) -> dict[str, int]:
        """Removed units by layer, for the layers that lost any."""
        return {name: layer.before - layer.after for name, layer in self.layers.items() if layer.after < layer.before}

    @property
    def folded(self) -> dict[str, int]:
        """Units by layer whose constant was folded into what follows."""
        return {name: len(layer.folded) for name, layer in self.layers.items() if len(layer.folded)}

    @property
    def kept_dead(self) -> dict[str, dict[str, int]]:
        """Dead units that stay, by layer and reason."""
        found: dict[str, dict[str, int]] = {}
        for name, layer in self.layers.items():
            for reason in layer.reasons.values():
                reasons = found.setdefault(name, {})
                reasons[reason] = reasons.get(reason, 0) + 1
        return found

    @property
    def dead_whole(self) -> list[str]:
        """Layers without a unit left: what reads them sees a constant, and a residual path goes round them."""
        return [name for name, layer in self.layers.items() if layer.after == 0]

    @property
    def widths(self) -> dict[str, tuple[int, int]]:
        """Units before and after, by layer."""
        widths = {name: (layer.before, layer.after) for name, layer in self.layers.items()}
        return ByLayer(widths, getattr(self.layers, "aliases", {}))

    def __str__(self) -> str:
        width = max((len(name) for name in self.layers), default=5)
        lines = [f"{'layer':{width}}  units    dead  folded  kept dead   after"]
        for name, layer in self.layers.items():
            numbers = (layer.before, int(layer.dead.sum()), len(layer.folded), len(layer.reasons), layer.after)
            lines.append(
                f"{name:{width}}  {numbers[0]:5}  {numbers[1]:6}  {numbers[2]:6}  {numbers[3]:9}  {numbers[4]:6}"
            )
        for name, reasons in self.kept_dead.items():
            lines += [f"{name}: {count} dead kept: {reason}" for reason, count in reasons.items()]
        if self.unknown:
            lines.append(
                "not known here, so kept whole: " + ", ".join(f"{n} {name}" for name, n in self.unknown.items())
            )
        if self.dead_whole:
            lines.append("dead whole: " + ", ".join(self.dead_whole))
        lines += self.notes
        share = self.parameters_after / max(self.parameters_before, 1)
        lines.append(f"parameters {self.parameters_before:,} -> {self.parameters_after:,} ({100 * share:.1f} %)")
        return "\n".join(lines)
