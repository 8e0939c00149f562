"""The claims of Retsinas et al. 2020 that need no training: formulas, each computed and compared with its source.

They have no scale; `claims` lists them with the embedded one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.claims import NotRun, Rule, Verdict
from experiments.measured import Measured
from jaxsparse import models, trees
from jaxsparse.thresholding import density, gaussian, hard_shrink, shares

TARGETS = (0.5, 0.7, 0.85, 0.95)
SAMPLES = 10**6
DEVIATIONS = 4
"""Standard errors that a share of samples may be off."""
CLOSE = 1e-4
"""Largest relative difference of single precision from a formula in double precision."""
BOUNDS = (0.3, 1.0, 1.44, 2.5)


def _once(rule: Callable[[], Verdict]) -> Rule:
    def judged(measured: Measured) -> Verdict:
        if measured.scale.name != "embedded":
            raise NotRun("nothing to train")
        return rule()

    return judged


def _share(bound: float) -> float:
    return math.erf(bound / math.sqrt(2))


def _far(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.max(np.abs(found - expected)) / np.max(np.abs(expected)))


def gaussian_rule() -> Verdict:
    """Equation 3 on samples of several deviations."""
    parts, fine = [], True
    for seed, target in enumerate(TARGETS):
        weights = jax.random.normal(jax.random.key(seed), (SAMPLES,)) * 10.0 ** (seed - 2)
        zeros = float(jnp.mean(hard_shrink(weights, gaussian(weights, target)) == 0))
        fine &= abs(zeros - target) <= DEVIATIONS * math.sqrt(target * (1 - target) / SAMPLES)
        parts.append(f"{100 * target:g}: {100 * zeros:.2f} %")
    return Verdict(fine, f"{SAMPLES:,} Gaussian weights, target: zeros " + "; ".join(parts))


def density_as_loss() -> Verdict:
    """Equations 6 and 19 by automatic differentiation."""
    weighting = dict.fromkeys(map(str, range(len(BOUNDS))), 1 / len(BOUNDS))
    bounds = dict(zip(weighting, map(jnp.float32, BOUNDS), strict=True))
    value, slopes = jax.value_and_grad(density)(bounds, weighting)
    expected = 1 - np.mean([_share(bound) for bound in BOUNDS])
    formula = np.asarray([-2 * math.exp(-(b**2) / 2) / math.sqrt(2 * math.pi) / len(BOUNDS) for b in BOUNDS])
    off = max(abs(float(value) - expected), _far(np.asarray(list(slopes.values())), formula))
    return Verdict(bool(off < CLOSE), f"differs from equations 6 and 19 {_told(float(off))}")


def _told(difference: float) -> str:
    """A difference as all processors have it: rounding is told by its bound."""
    return f"by less than {CLOSE:g}" if difference < CLOSE else f"by {difference:.1e}"


def slope() -> Verdict:
    """Equation 19, with an absolute bound, against central differences."""
    step, worst = 1e-5, 0.0
    for sigma in (0.02, 1.0, 3.0):
        for relative in BOUNDS:
            b = relative * sigma
            ends = [1 - _share((b + sign * step * sigma) / sigma) for sign in (1, -1)]
            closed = -2 * math.exp(-(b**2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
            worst = max(worst, abs((ends[0] - ends[1]) / (2 * step * sigma) / closed - 1))
    return Verdict(worst < CLOSE, f"largest relative difference from central differences: {worst:.1e}")


def straight_through() -> tuple[bool, str]:
    """Equations 16 to 18, and no gradient of the bound without the estimator."""
    weights = jax.random.normal(jax.random.key(0), (3, 3, 8, 16)) * 0.1
    pull, bound = jax.random.normal(jax.random.key(1), weights.shape), jnp.float32(1.2)

    def total(w: jax.Array, b: jax.Array, estimator: bool) -> jax.Array:
        return jnp.sum(pull * hard_shrink(w, b, straight_through=estimator))

    to_weights, to_bound = jax.grad(total, (0, 1))(weights, bound, True)
    w, g = np.asarray(weights, np.float64), np.asarray(pull, np.float64)
    kept = np.where(np.abs(w) < 1.2 * w.std(), 0, w)
    off = max(_far(np.asarray(to_weights), g), abs(float(to_bound) / np.sum((kept - w) / 1.2 * g) - 1))
    without = float(jax.grad(total, 1)(weights, bound, False))
    return (
        off < CLOSE and without == 0,
        f"differs from equations 16 to 18 {_told(off)}, bound's gradient without STE {without:g}",
    )


def size_aware() -> Verdict:
    """Equations 8 and 9 on WRN-16-8: shares sum to one, and the density is that of all weights."""
    model = nnx.eval_shape(lambda: models.WRN(16, 8, 100, rngs=nnx.Rngs(0)))
    params = nnx.as_pure(nnx.state(model, nnx.Param))
    flags = jax.tree.leaves(trees.convolutions(params))
    sizes = {name: leaf.size for (name, leaf), on in zip(trees.flatten(params).items(), flags, strict=True) if on}
    example = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    found = {name: shares(name, model, example, tuple(sizes)) for name in ("parameters", "flops")}
    sums = {name: sum(own.values()) for name, own in found.items()}
    bounds = {name: jnp.float32(0.5 + index / len(sizes)) for index, name in enumerate(sizes)}
    left = sum(size * (1 - _share(float(bounds[name]))) for name, size in sizes.items()) / sum(sizes.values())
    off = max(*(abs(total - 1) for total in sums.values()), abs(float(density(bounds, found["parameters"])) - left))
    return Verdict(off < CLOSE, f"sums of shares and overall density differ {_told(off)}; equation 8's 1/N is absorbed")


def equivalent_networks() -> Verdict:
    """Equation 12 on WRN-16-8."""
    own, parts, fine = models.WRN.widths_of(16, 8), [], True

    def count(widths: tuple[int, ...]) -> int:
        return trees.size(
            nnx.state(nnx.eval_shape(lambda: models.WRN(16, 8, widths=widths, rngs=nnx.Rngs(0))), nnx.Param)
        )

    whole = count(own)
    for share in (0.5, 0.3, 0.15, 0.05):
        found = count(models.thinned(own, share))
        fine &= abs(found / (share * whole) - 1) <= 0.05
        parts.append(f"{share:g}: {found / whole:.4f} ({found:,})")
    return Verdict(fine, "wanted: found share " + "; ".join(parts))


RULES: dict[str, tuple[str, Rule]] = {
    "R-01": ("table2", _once(gaussian_rule)),
    "R-04": ("table2", _once(density_as_loss)),
    "R-06": ("table2", _once(slope)),
    "R-07": ("table2", _once(size_aware)),
    "R-09": ("figure4", _once(equivalent_networks)),
}
