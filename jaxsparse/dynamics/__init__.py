"""One weight at a time: what an optimizer with a regularizer makes of it while the loss says little or nothing.

`simulation` runs the very update rules that train networks on scalars with given gradients; `protocols` has the papers'
gradients.

    tx = js.adam(1e-3, b2=0.99, regularizer=js.CoupledL2(1e-4))
    xs = js.simulate(tx, init, gradients)                           # [n], [steps, n] -> [steps + 1, n]
"""

from jaxsparse.dynamics import protocols
from jaxsparse.dynamics.simulation import Outcome, alone, outcome, simulate

__all__ = ["Outcome", "alone", "outcome", "protocols", "simulate"]
