"""Weights that are zero below a bound while a network is trained: Retsinas et al. 2020, *Weight pruning via adaptive
sparsity loss*.

    bounds = {name: js.thresholding.gaussian(w, 0.85) for name, w in kernels.items()}
    effective = js.thresholding.apply(params, bounds)    # what the forward pass sees; gradients go straight through
    loss = cross_entropy(effective) + 10 * squared(density(bounds, shares), 0.15)

Everything is a function of parameters and bounds, so it fits any `flax.nnx` model (or any pytree of arrays with names)
and any optimizer; `Run.thresholding` names a method for the project's own training.

A bound is relative to the standard deviation sigma of its kernel: a weight is zero where `|w| < b sigma`. The paper has
b absolute in equations 1 to 11 and 19, and relative in footnote 2 and equations 13 to 18; relative, the Gaussian rule
and the share of zeros depend on b alone, `s = erf(b / sqrt 2)`, and a bound keeps its meaning while weights grow or
shrink. Absolute bounds are `b sigma` throughout.

1. `shrinkage`   weights below a bound become zero; what that does to gradients
2. `bounds`      the bound that gives a wanted share of zeros: by binary search, or as if weights were Gaussian
3. `loss`        the share that is left as a loss of trainable bounds, with and without a budget
4. `methods`     which of these a training uses
5. `observing`   what a record says of bounds and weights
"""

from jaxsparse.thresholding.bounds import BOUND_RANGE, binary_search, deviation, gaussian, gaussian_share
from jaxsparse.thresholding.loss import SHARES, density, excess, shares, squared, unconstrained
from jaxsparse.thresholding.methods import (
    BOUND_RATES,
    METHODS,
    NONE,
    THRESHOLDED,
    Bounds,
    Thresholding,
    Trained,
    thresholding,
)
from jaxsparse.thresholding.observing import BINS, Observation, observe
from jaxsparse.thresholding.shrinkage import apply, hard_shrink

__all__ = [
    "BINS",
    "BOUND_RANGE",
    "BOUND_RATES",
    "METHODS",
    "NONE",
    "SHARES",
    "THRESHOLDED",
    "Bounds",
    "Observation",
    "Thresholding",
    "Trained",
    "apply",
    "binary_search",
    "density",
    "deviation",
    "excess",
    "gaussian",
    "gaussian_share",
    "hard_shrink",
    "observe",
    "shares",
    "squared",
    "thresholding",
    "unconstrained",
]
