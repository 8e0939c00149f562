"""Explicit pruning: remove what seems least important from a trained network, and train on what is left.

    masks = js.pruning.magnitude(params, 0.9)            # booleans like params, True = kept
    params = js.pruning.apply(params, masks)
    tx = js.pruning.enforce(js.adam(1e-4), masks)        # any optax optimizer; pruned weights stay exactly zero
    smaller, report = js.shrink(model, example, js.pruning.dead_units(masks))   # where whole units went

Each step needs only the one before:

1. `comparing`    what is compared with what, and how many of n scores go
2. `masks`        which parameters may go; masks, and what share they prune
3. `layers`       whole units: from the dead ones to masks and back
4. `methods`      magnitude, hybrid, filters, slimming, channels, implicit, random
5. `enforcing`    an optimizer that keeps masks, its own memory included
6. `schedules`    how much is pruned when: at once, in rounds, along a cubic
7. `fine_tuning`  all of it with the project's training
8. `outcome`      the same, and the errors before and after
"""

from jaxsparse.pruning.comparing import Below, by_filter, by_layer, globally
from jaxsparse.pruning.enforcing import EnforcedState, enforce
from jaxsparse.pruning.fine_tuning import BATRA_2024, FineTuning, continued, fine_tune
from jaxsparse.pruning.layers import dead_units, emptied, units
from jaxsparse.pruning.masks import apply, below, convolutions, kernels, share_pruned
from jaxsparse.pruning.methods import (
    channels,
    filters,
    hybrid,
    implicit,
    magnitude,
    random,
    random_filters,
    slimming,
)
from jaxsparse.pruning.outcome import Outcome, prune
from jaxsparse.pruning.schedules import cubic, iterative, one_shot, plan

__all__ = [
    "BATRA_2024",
    "Below",
    "EnforcedState",
    "FineTuning",
    "Outcome",
    "apply",
    "below",
    "by_filter",
    "by_layer",
    "channels",
    "continued",
    "convolutions",
    "cubic",
    "dead_units",
    "emptied",
    "enforce",
    "filters",
    "fine_tune",
    "globally",
    "hybrid",
    "implicit",
    "iterative",
    "kernels",
    "magnitude",
    "one_shot",
    "plan",
    "prune",
    "random",
    "random_filters",
    "share_pruned",
    "slimming",
    "units",
]
