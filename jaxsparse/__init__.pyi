# What the package has, for type checkers, and for `__init__`, which imports each name when it is first used.
from jaxsparse import data as data
from jaxsparse import dynamics as dynamics
from jaxsparse import loggers as loggers
from jaxsparse import models as models
from jaxsparse import noise as noise
from jaxsparse import pruning as pruning
from jaxsparse import regularizers as regularizers
from jaxsparse import rules as rules
from jaxsparse import schedules as schedules
from jaxsparse import shrinking as shrinking
from jaxsparse import sparsity as sparsity
from jaxsparse import starting as starting
from jaxsparse import theory as theory
from jaxsparse import thresholding as thresholding
from jaxsparse import trees as trees
from jaxsparse.checks import InvalidInput as InvalidInput
from jaxsparse.comparison import Grid as Grid
from jaxsparse.config import Hyper as Hyper
from jaxsparse.config import Run as Run
from jaxsparse.config import Target as Target
from jaxsparse.criteria import Criterion as Criterion
from jaxsparse.criteria import Thresholds as Thresholds
from jaxsparse.dynamics import simulate as simulate
from jaxsparse.explanation import explain as explain
from jaxsparse.export import from_torch as from_torch
from jaxsparse.export import load as load
from jaxsparse.export import save as save
from jaxsparse.monitor import Monitor as Monitor
from jaxsparse.regularizers import BatchNormL1 as BatchNormL1
from jaxsparse.regularizers import CoupledL2 as CoupledL2
from jaxsparse.regularizers import DecoupledDecay as DecoupledDecay
from jaxsparse.regularizers import GroupLasso as GroupLasso
from jaxsparse.regularizers import ProximalGroupLasso as ProximalGroupLasso
from jaxsparse.regularizers import regularized as regularized
from jaxsparse.rules import optimizer as optimizer
from jaxsparse.rules.functions import *  # noqa: F403  # js.adam and the others, whose list is there
from jaxsparse.shrinking import shrink as shrink
from jaxsparse.sparsity import measure as measure
from jaxsparse.sparsity import wiring as wiring
from jaxsparse.train import make_train as make_train

__version__: str
