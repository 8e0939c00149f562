"""jaxsparse: sparsity that appears by itself when a network is trained.

import jaxsparse as js

tx = js.adam(1e-3, b2=0.99, regularizer=js.CoupledL2(1e-4))   # any optax training loop
print(js.measure(model, batches))                             # any model: which units are dead
"""

from jaxsparse import starting  # isort: skip  # before all that takes long to import
import jaxsparse.rules.functions as _functions
from jaxsparse import (
    data,
    dynamics,
    loggers,
    models,
    pruning,
    regularizers,
    rules,
    schedules,
    shrinking,
    sparsity,
    theory,
    thresholding,
    trees,
)
from jaxsparse.checks import InvalidInput
from jaxsparse.comparison import Grid
from jaxsparse.config import Hyper, Run, Target
from jaxsparse.criteria import Criterion, Thresholds
from jaxsparse.dynamics import simulate
from jaxsparse.explanation import explain
from jaxsparse.export import from_torch, load, save
from jaxsparse.monitor import Monitor
from jaxsparse.regularizers import (
    BatchNormL1,
    CoupledL2,
    DecoupledDecay,
    GroupLasso,
    ProximalGroupLasso,
    regularized,
)
from jaxsparse.rules import optimizer
from jaxsparse.rules.functions import *  # noqa: F403  # js.adam and the others, whose list is there
from jaxsparse.shrinking import shrink
from jaxsparse.sparsity import measure
from jaxsparse.sparsity import wiring_of as wiring
from jaxsparse.train import make_train

__version__ = "0.1.0"

__all__ = [
    "BatchNormL1",
    "CoupledL2",
    "Criterion",
    "DecoupledDecay",
    "Grid",
    "GroupLasso",
    "Hyper",
    "InvalidInput",
    "Monitor",
    "ProximalGroupLasso",
    "Run",
    "Target",
    "Thresholds",
    "data",
    "dynamics",
    "explain",
    "from_torch",
    "load",
    "loggers",
    "make_train",
    "measure",
    "models",
    "optimizer",
    "pruning",
    "regularized",
    "regularizers",
    "rules",
    "save",
    "schedules",
    "shrink",
    "shrinking",
    "simulate",
    "sparsity",
    "starting",
    "theory",
    "thresholding",
    "trees",
    "wiring",
]
__all__.extend(_functions.__all__)
