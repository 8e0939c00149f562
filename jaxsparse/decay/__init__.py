"""`jaxsparse decay`: one weight, hardly any gradient: how fast does each optimizer with each regularizer kill it?

    plan = Plan(optimizers=("adam", "sgd"), regularizers=("l2", "wd"))      # checked as a whole when made
    found = follow(plan)                                                    # Arrow tables of curves and outcomes
    write(plan, folder)                                                     # the same as a folder, with figures

A folder holds, besides `decay.json` (the plan) and `versions.json`,

    decay-curves.parquet, decay-outcomes.parquet        weights at chosen steps; steps to each threshold and so on
    zero-gradient-curves.parquet, -outcomes.parquet     the same of the experiment of Yaguchi et al. 2018, Figure 4
    conventions-curves.parquet, -outcomes.parquet       the same of rules that differ between conventions
    map.parquet                                         steps to 1e-12 over strength and learning rate
    figures/                                            drawn from these, as SVG and PNG

All is computed in float64: the squares of an optimizer's second moment leave float32 long before a weight is at 1e-12.
"""

from jaxsparse.decay.folder import write
from jaxsparse.decay.following import COLUMNS, THRESHOLDS, Found, follow, marks
from jaxsparse.decay.plan import CONVENTIONS, ZERO_GRADIENT, Plan
from jaxsparse.decay.steps_map import steps_map

__all__ = [
    "COLUMNS",
    "CONVENTIONS",
    "THRESHOLDS",
    "ZERO_GRADIENT",
    "Found",
    "Plan",
    "follow",
    "marks",
    "steps_map",
    "write",
]
