"""When a unit counts as dead: an object for each criterion, and which of them decides.

One of your own is one more object, for `js.Thresholds(own=(js.Criterion(..),))` or `js.Grid(.., criteria=[..])`:

    seldom = js.Criterion("rate", lambda units: units.rate, threshold=0.01)   # active at less than 1 % of the positions
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from jaxsparse.checks import require

Found = TypeVar("Found")


@dataclass(frozen=True)
class Thresholds:
    """When a unit counts as dead (Mehta et al. 2019, section 2.1; the norm's is not stated in any paper).

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> from flax import nnx
      >>> model = js.models.MLP(2, shape=(3,), widths=(4,), rngs=nnx.Rngs(0))
      >>> model.hidden[0].norm.scale[...] = jnp.array([1.0, 0.1, 0.01, 0.0001])
      >>> found = [js.measure(model, jnp.ones((5, 3)), thresholds=js.Thresholds(scale)) for scale in (1e-3, 0.05)]
      >>> [each.percent("scale") for each in found]
      [25.0, 50.0]
    """

    scale: float = 1e-3
    """by scale: |gamma| below this"""
    activation: float = 1e-12
    """by activation: largest |activation| over the whole training set at most this"""
    norm: float = 1e-3
    """by norm: L2 norm of the incoming weights below this"""
    own: tuple[Any, ...] = ()
    """`criteria.Criterion` of a person's own, beside these"""

    def __post_init__(self) -> None:
        for name, value in (("scale", self.scale), ("activation", self.activation), ("norm", self.norm)):
            require(math.isfinite(value) and value >= 0, f"threshold of {name}", value, "a finite number >= 0")


@dataclass(frozen=True)
class Criterion:
    """Units are dead whose magnitude is below a threshold.

    Raises:
      InvalidInput: for a name or a threshold out of range.

    Example:
      Dead by what a unit does at most, |gamma| times the norm of its weights:

      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> from flax import nnx
      >>> model = js.models.MLP(2, shape=(3,), widths=(3,), rngs=nnx.Rngs(0))
      >>> model.hidden[0].linear.kernel[...] = jnp.full((3, 3), 0.1)  # of norm 0.17
      >>> model.hidden[0].norm.scale[...] = jnp.array([1.0, 0.005, 0.0005])
      >>> gain = js.Criterion("gain", lambda units: abs(units.gamma) * units.norm, threshold=1e-3)
      >>> found = js.measure(model, jnp.ones((5, 3)), thresholds=js.Thresholds(own=(gain,)))
      >>> found.dead["scale"]["hidden/0"], found.dead["gain"]["hidden/0"]
      (array([False, False,  True]), array([False,  True,  True]))
    """

    name: str
    """of small letters, digits and `_`"""
    magnitude: Callable[[Any], Any]
    """from the `sparsity.Units` of a layer to an array `[units]`, or None where the layer has no such thing"""
    threshold: float
    meaning: str = ""
    """of dead, in a few words"""
    at_most: bool = False
    """whether a unit on the threshold is dead"""
    column: str = ""
    """of a history, which has the magnitudes"""
    look: tuple[str, str, int] = ("D", "#009E73", 6)
    """marker, colour and size in figures"""

    def __post_init__(self) -> None:
        named = bool(re.fullmatch(r"[a-z][a-z0-9_]{0,30}", self.name))
        require(named, "criterion", self.name, "a name of small letters, digits and _, like rate")
        fine = math.isfinite(self.threshold) and self.threshold >= 0
        require(fine, f"threshold of {self.name}", self.threshold, "a finite number >= 0")

    @property
    def described(self) -> dict[str, Any]:
        """For records."""
        return {"name": self.name, "threshold": self.threshold}

    def dead(self, units: Any, threshold: float) -> Any:
        """Booleans `[units]`; None where the layer lacks what the criterion looks at."""
        found = self.magnitude(units)
        if found is None:
            return None
        return found <= threshold if self.at_most else found < threshold


SCALE = Criterion(
    "scale",
    lambda units: None if units.gamma is None else abs(units.gamma),
    Thresholds.scale,
    "|gamma| below the threshold",
    column="gamma",
    look=("s", "#D55E00", 9),
)
ACTIVATION = Criterion(
    "activation",
    lambda units: units.activation,
    Thresholds.activation,
    "largest activation over the training set at most the threshold",
    at_most=True,
    column="activation",
    look=("o", "#0072B2", 6),
)
NORM = Criterion(
    "norm",
    lambda units: units.norm,
    Thresholds.norm,
    "norm of the incoming weights below the threshold",
    column="norm",
    look=("|", "#1c2126", 14),
)
CRITERIA = (SCALE, ACTIVATION, NORM)
"""Mehta et al. 2019, section 2.1, has the first two; the norm's threshold is not stated in any paper."""
DECIDING = (SCALE, NORM)
"""Which of them decides about a layer: the first that it has. A unit is dead by scale, without a scale by norm."""


def thresholds_of(thresholds: Thresholds) -> dict[Criterion, float]:
    """Every criterion that units are judged by, with its threshold.

    Raises:
      InvalidInput: for two of one name.
    """
    found = {criterion: float(getattr(thresholds, criterion.name)) for criterion in CRITERIA}
    found |= {criterion: criterion.threshold for criterion in thresholds.own}
    names = [criterion.name for criterion in found]
    require(len(set(names)) == len(names), "criteria", " ".join(names), "of different names")
    return found


def names_of(thresholds: Thresholds) -> tuple[str, ...]:
    """Names of the criteria that units are judged by."""
    return tuple(criterion.name for criterion in thresholds_of(thresholds))


def primary(found: Mapping[str, Found]) -> Found | None:
    """Of what there is by name of a criterion, that of the one that decides; None where it has neither."""
    return next((found[criterion.name] for criterion in DECIDING if criterion.name in found), None)
