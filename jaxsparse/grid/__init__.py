"""Many runs: the product of optimizers, regularizers, strengths and seeds as declared cells.

`declaration` says what is to be trained, `start` from which weights if it is trained already, `engine` trains it,
`sharing` keeps engines busy, `recording` says what came out, `running` keeps that and resumes what was interrupted.
`devices` holds what has to be settled before, `packing` puts several cells on a device, `ray_engine` goes to other
machines.
"""

from jaxsparse.grid.compiled import keep_compiled
from jaxsparse.grid.declaration import MOST_CELLS, Cell, Declaration
from jaxsparse.grid.devices import cores, unused, use_every_core, writes
from jaxsparse.grid.engine import Engine, Placement
from jaxsparse.grid.logged import logged
from jaxsparse.grid.running import Job, Progress, Trainer, run, train, train_all, train_here
from jaxsparse.grid.start import Start

__all__ = [
    "MOST_CELLS",
    "Cell",
    "Declaration",
    "Engine",
    "Job",
    "Placement",
    "Progress",
    "Start",
    "Trainer",
    "cores",
    "keep_compiled",
    "logged",
    "run",
    "train",
    "train_all",
    "train_here",
    "unused",
    "use_every_core",
    "writes",
]
