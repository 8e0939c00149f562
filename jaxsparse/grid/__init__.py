"""Many runs: the product of optimizers, regularizers, strengths and seeds as declared cells.

`declaration` says what is to be trained, `engine` trains it on every device at once, `running` keeps what comes out and
resumes what was interrupted.
"""

from jaxsparse.grid.declaration import Cell, Declaration
from jaxsparse.grid.engine import Engine, cores, use_every_core
from jaxsparse.grid.running import Progress, run, train

__all__ = ["Cell", "Declaration", "Engine", "Progress", "cores", "run", "train", "use_every_core"]
