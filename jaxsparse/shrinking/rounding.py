"""Widths that fill a processor's vectors: of the units that could go, some stay.

A width of 23 takes a processor as long as one of 24, and often longer. Torch-Pruning (Fang et al. 2023) has the same as
`round_to`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from jaxsparse.criteria import DECIDING
from jaxsparse.sparsity import Units

REASON = "it fills the width"


def least_dead(units: Units) -> np.ndarray:
    """Positions of a layer's units, those first that are furthest from dead by the criterion that decides."""
    magnitude = next(found for criterion in DECIDING if (found := criterion.magnitude(units)) is not None)
    return np.argsort(-np.asarray(magnitude, float), kind="stable")


def rounded(
    removed: np.ndarray,
    units: Mapping[str, np.ndarray],
    order: Mapping[str, np.ndarray],
    multiple: int,
    least: int,
) -> tuple[np.ndarray, dict[int, str]]:
    """Takes removals back until the widths are as wanted.

    Layers without any unit left stay without, and no layer gets wider than it was.

    Args:
      removed: booleans by channel number.
      units: channels `[units, n]` of each layer; a unit is gone where one of its channels is.
      order: positions of each layer's units, those first that are to stay first.
      multiple: of which a width should be.
      least: units of a layer.

    Returns:
      The removals that are left, and the reason by channel number for those that are not.
    """
    left, stay = removed.copy(), dict[int, str]()
    for name, roots in units.items():
        gone = np.any(left[roots], axis=1)
        kept = int((~gone).sum())
        wanted = min(-(-max(kept, least) // multiple) * multiple, len(roots)) if kept else 0
        for unit in order[name][gone[order[name]]]:
            if (~left[roots].any(1)).sum() >= wanted:  # a unit may have brought others back with it
                break
            back = [int(root) for root in roots[unit] if left[root]]
            left[back] = False
            stay |= dict.fromkeys(back, REASON)
    return left, stay
