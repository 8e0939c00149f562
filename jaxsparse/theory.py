"""What a regularizer alone does to one weight: closed forms, and approximations with a stated range.

One weight w, a loss gradient of zero, a constant learning rate. `predict` gives the path and `steps_to` the first step
below a threshold, for the seven optimizers in the four conventions of `jaxsparse.optimizers`:

    exact         no regularizer; decoupled decay with every optimizer; coupled L2 with SGD, heavy ball and Nesterov
    approximate   coupled L2 with an adaptive optimizer: the frozen-gain approximation

Frozen gain. With g = strength * w every adaptive rule here is momentum SGD, `m <- b1 m + (1 - b1) w`,
`w <- w - G_t m`, with a gain `G_t = learning_rate * strength / denominator_t` that drifts. Over a block of steps in
which it drifts by 2 % at most (0.4 % while w oscillates) it is replaced by its geometric mean. Then w has a
closed form (two characteristic roots), and so has the running mean of w^2 that the next gain is made of (a linear map
of w^2, w m, m^2). Where the gain drifts faster than that, as in the first steps, a block is one step and nothing is
approximated. A path of a million steps takes some hundred blocks.

The approximation ends where the frozen gain becomes unstable, `G (1 - b1) > 2 (1 + b1)`, after it has been stable: the
weight then grows back and settles in a cycle (`cycle_amplitude`), whose phase is not predicted: nan.

Derivations, ranges and measured errors: docs/theory.md. Everything is float64 NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

CONVENTIONS: tuple[str, ...] = ("torch", "keras", "optax", "paper")


def _all(**hyper: float | bool) -> dict[str, dict[str, float | bool]]:
    return {convention: dict(hyper) for convention in CONVENTIONS}


def _moments(**eps: float) -> dict[str, dict[str, float | bool]]:
    return {convention: {"b1": 0.9, "b2": 0.999, "eps": eps.get(convention, 1e-8)} for convention in CONVENTIONS}


DEFAULTS: dict[str, dict[str, dict[str, float | bool]]] = {
    "sgd": _all(momentum=0.0, nesterov=False),
    "adam": _moments(keras=1e-7),
    "amsgrad": _moments(keras=1e-7, paper=0.0),
    "adamax": _moments(keras=1e-7, paper=0.0),
    "rmsprop": {
        "torch": {"decay": 0.99, "eps": 1e-8},
        "keras": {"decay": 0.9, "eps": 1e-7},
        "optax": {"decay": 0.9, "eps": 1e-8},
        "paper": {"decay": 0.9, "eps": 0.0},
    },
    "adagrad": {
        "torch": {"eps": 1e-10, "initial_accumulator_value": 0.0},
        "keras": {"eps": 1e-7, "initial_accumulator_value": 0.1},
        "optax": {"eps": 1e-7, "initial_accumulator_value": 0.1},
        "paper": {"eps": 0.0, "initial_accumulator_value": 0.0},
    },
    "adadelta": {
        "torch": {"rho": 0.9, "eps": 1e-6},
        "keras": {"rho": 0.95, "eps": 1e-7},
        "optax": {"rho": 0.9, "eps": 1e-6},
        "paper": {"rho": 0.95, "eps": 1e-6},
    },
}
"""Defaults by optimizer and convention: those of `jaxsparse.optimizers.defaults` (a test compares them)."""

OPTIMIZERS: tuple[str, ...] = tuple(DEFAULTS)

RANGE: dict[str, tuple[float, float]] = {
    "strength": (1e-6, 1.0),
    "learning_rate / |init|": (5e-5, 2.0),
    "learning_rate of adadelta": (1e-3, 1.0),
    "threshold / |init|": (1e-12, 1.0),
    "b1": (0.0, 0.95),
    "b2": (0.9, 0.9999),
    "decay": (0.8, 0.999),
    "rho": (0.8, 0.99),
}
"""Where coupled L2 with an adaptive optimizer is predicted, bounds included; outside the result is nan.

Exact cases have no range. The learning rate of Adadelta has no unit, so it is not compared with the weight.
"""


def predict(
    optimizer: str,
    regularizer: Any,
    *,
    learning_rate: float,
    init: float,
    steps: int,
    convention: str = "torch",
    **hyper: float | bool | None,
) -> np.ndarray:
    """The weight before the first step and after each, where the loss gradient is zero.

    Args:
      optimizer: one of `OPTIMIZERS`.
      regularizer: None, or what has a `name` of `l2` (coupled), `wd` or `wd-lr` (decoupled) and a `strength`, as
        `jaxsparse.CoupledL2` and `DecoupledDecay` have.
      learning_rate: constant, > 0.
      init: the weight at the start.
      steps: how many, >= 0.
      convention: one of `CONVENTIONS`.
      **hyper: hyperparameters by optax's names; what is not given has the convention's default.

    Returns:
      float64 `[steps + 1]`. For an adaptive optimizer with coupled L2: nan after step 0 outside `RANGE`, and from where
      the weight, in the long run, does not stay near zero; 0 from where it has vanished for good (below 1e-120 init).

    Raises:
      ValueError: naming the field and the allowed values.
    """
    case = _case(optimizer, regularizer, learning_rate, init, convention, hyper)
    _require(isinstance(steps, int | np.integer) and steps >= 0, "steps", steps, "an integer >= 0")
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if isinstance(case, _Path):
            return case.at(np.arange(steps + 1))
        return _approximate_path(case, init, int(steps))


def steps_to(
    threshold: float,
    optimizer: str,
    regularizer: Any,
    *,
    learning_rate: float,
    init: float,
    convention: str = "torch",
    **hyper: float | bool | None,
) -> float:
    """The first step after which |w| < threshold, where the loss gradient is zero.

    Args:
      threshold: > 0.
      optimizer: and all others: as for `predict`.

    Returns:
      0 if the weight starts below; inf where it never gets there; nan where that is not known: for an adaptive
      optimizer with coupled L2 outside `RANGE`, or where the weight grows back into a cycle before it gets there.

    Raises:
      ValueError: naming the field and the allowed values.
    """
    _require(_is_number(threshold) and threshold > 0, "threshold", threshold, "a finite number > 0")
    case = _case(optimizer, regularizer, learning_rate, init, convention, hyper)
    if abs(init) < threshold:
        return 0.0
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if isinstance(case, _Path):
            return case.first_below(threshold)
        if not (_in_range(case, init) and _within("threshold / |init|", threshold / abs(init))):
            return math.nan
        return _first_in_blocks(case, init, lambda block: block.path.first_below(threshold, block.length))


# Named results


def spectral_radius(learning_rate: float, strength: float, momentum: float = 0.0, nesterov: bool = False) -> float:
    """By what factor momentum SGD with coupled L2 shrinks a weight per step, in the long run.

    The larger modulus of the two roots of `x^2 - (1 + mu - h) x + mu`, h = learning_rate * strength (Nesterov:
    `x^2 - (1 + mu)(1 - h) x + mu (1 - h)`). Without oscillation it is about `1 - h / (1 - mu)`; with, `sqrt(mu)`.
    Yaguchi et al. 2018, Proposition III.1.
    """
    return _momentum_path(learning_rate * strength, 1.0, float(momentum), nesterov).radius


def best_momentum(learning_rate: float, strength: float, nesterov: bool = False) -> float:
    """The momentum with which SGD and coupled L2 make a weight vanish fastest, h = learning_rate * strength.

    Heavy ball: `(1 - sqrt(h))^2`, for 0 < h < 4. Nesterov: `(1 - sqrt(h)) / (1 + sqrt(h))`, for 0 < h < 1. Both roots
    then coincide at `1 - sqrt(h)`, against `1 - h` without momentum. Yaguchi et al. 2018, remark after Proposition
    III.1 (their formula is lost in the text at hand); Polyak 1964.
    """
    root = math.sqrt(learning_rate * strength)
    return (1 - root) / (1 + root) if nesterov else (1 - root) ** 2


def dimensionless(learning_rate: float, strength: float, init: float, eps: float) -> tuple[float, float]:
    """All that an adaptive rule with coupled L2 depends on besides b1 and b2: `learning_rate / |init|` and
    `eps / (strength |init|)`.

    With g = strength * w, `m / (sqrt(v) + eps)` is unchanged if strength and eps are multiplied by the same number: the
    strength counts in units of epsilon only, and drops out where `strength |w| >> eps`. SGD has no such denominator:
    its one group is `learning_rate * strength`. For adam, amsgrad and adamax, and for rmsprop and adagrad with epsilon
    outside the root. Inside the root (keras, optax) sqrt(eps) takes the place of eps.
    """
    return learning_rate / abs(init), eps / (strength * abs(init))


def crossing(
    optimizer: str,
    strength: float,
    *,
    learning_rate: float,
    init: float,
    convention: str = "torch",
    **hyper: float | bool | None,
) -> float:
    """First step after which the weight has changed its sign, for an adaptive optimizer with coupled L2.

    Adam passes zero by inertia, about `init / learning_rate + (t2 - t1) ln(init / (learning_rate t2)) + O(t2)` steps
    after the start, `t1 = 1 / (1 - b1)`, `t2 = 1 / (1 - b2)` (docs/theory.md); what is computed is the frozen-gain
    approximation of it. Yaguchi et al. 2018, Theorem III.2, holds up to here.

    Returns:
      nan outside `RANGE`, and where the weight has shrunk by a factor of 1e-120 before it changes its sign.

    Raises:
      ValueError: naming the field and the allowed values.
    """
    _require(optimizer != "sgd", "optimizer", optimizer, "one of " + " ".join(OPTIMIZERS[1:]))
    case = _case(optimizer, _L2(strength), learning_rate, init, convention, hyper)
    if isinstance(case, _Path) or not _in_range(case, init):
        return math.nan
    sign = math.copysign(1.0, init)

    def first_negative(block: _Block) -> float:
        if block.path.radius_is_positive_root and block.path.at(block.length) * sign > 0 and block.length > _CHUNK:
            return math.inf
        below = np.flatnonzero(block.path.at(np.arange(1, block.length + 1)) * sign < 0)
        return float(below[0] + 1) if below.size else math.inf

    with np.errstate(under="ignore"):
        return _first_in_blocks(case, init, first_negative)


def cycle_amplitude(learning_rate: float, strength: float, *, eps: float, b1: float = 0.0) -> float:
    """Amplitude of the cycle of period two, w = +a, -a, of RMSProp (b1 = 0) and Adam, epsilon outside the root.

    In it sqrt(v) = strength a and `m = strength w (1 - b1) / (1 + b1)`, so that the step is 2 a for

        a = learning_rate (1 - b1) / (2 (1 + b1)) - eps / strength

    or 0 where that is negative: there the weight dies. It is positive exactly where zero is unstable,
    `learning_rate strength / eps > 2 (1 + b1) / (1 - b1)`, which is 38 for b1 = 0.9. RMSProp settles in this cycle.
    Adam with momentum does not: it comes in bursts, whose root mean square is close to a (measured: docs/theory.md).
    """
    return max(0.0, learning_rate * (1 - b1) / (2 * (1 + b1)) - (eps / strength if eps else 0.0))


def doubly_exponential_bound(
    steps: int, *, learning_rate: float, init: float, b2: float, eps_over_strength: float = 0.0
) -> np.ndarray:
    """Upper bound on Adam's weight after 0 .. steps steps, `[steps + 1]`, as long as it has not changed its sign.

        w_t <= init exp(-sum_{j<=t} lr / (k init b2^(j/2) + e)),  k = (b2 - r^2)^(-1/2),  r = 1 - lr / (init + e)

    e = eps / strength, torch's form, any b1. With e = 0 it is doubly exponential; with e > 0 it turns geometric, by
    `lr / e` a step. Yaguchi et al. 2018, Theorem III.2, derived anew (docs/theory.md).

    Returns:
      nan unless r^2 < b2, that is, about `init < 2 learning_rate / (1 - b2)`: a larger weight first falls linearly.
    """
    rate = 1 - learning_rate / (init + eps_over_strength)
    if not (rate >= 0 and rate**2 < b2):
        return np.full(steps + 1, math.nan)
    j = np.arange(1, steps + 1)
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        scale = init * b2 ** (j / 2) / math.sqrt(b2 - rate**2) + eps_over_strength
        return init * np.exp(-np.concatenate([[0.0], np.cumsum(learning_rate / scale)]))


def fall_before_oscillation(b2: float, b1: float) -> float:
    """Natural logarithm of how far Adam's weight falls, without epsilon, before it begins to oscillate.

    In the doubly exponential phase the gain grows by `b2^(-1/2)` a step, up to `(1 - sqrt(b1)) / (1 + sqrt(b1))`, where
    the roots become complex: 0.026 for b1 = 0.9. For b1 = 0 the fall is `pi^2 / (3 ln b2)`. Leading order in 1 - b2.
    At b1 = 0.9 it is -6.4 for b2 = 0.99 and -65 for 0.999: how much of the way is doubly exponential depends on b2.
    """
    return _fall(b2, b1, (1 - math.sqrt(b1)) / (1 + math.sqrt(b1)))


def dive_depth(b2: float, b1: float = 0.0) -> float:
    """Natural logarithm of how far a weight falls before RMSProp (b1 = 0) or Adam throws it back, without epsilon.

    As `fall_before_oscillation`, up to the gain `2 (1 + b1) / (1 - b1)` above which zero is unstable. For RMSProp it is
    `pi^2 / (2 ln b2)`: -491 at decay 0.99. Leading order in 1 - b2.
    """
    return _fall(b2, b1, 2 * (1 + b1) / (1 - b1)) if b1 else math.pi**2 / (2 * math.log(b2))


def _fall(b2: float, b1: float, gain: float) -> float:
    """`2 / -ln(b2)` times the integral of ln|larger root of G| over ln G, from -inf to ln(gain).

    Below the first node the root is `1 - G`, and the integral -G; near G = 1 with b1 = 0 the logarithm is singular,
    which midpoints that avoid it integrate well enough.
    """
    smallest, nodes = 1e-6, 20_000
    width = math.log(gain / smallest) / nodes
    gains = smallest * np.exp(width * (np.arange(nodes) + 0.5))
    logs = [max(_Path(1.0, 1.0, b1, (1 - b1) * float(g)).log_radius, -50.0) for g in gains]
    return (float(np.sum(logs)) * width - smallest) * 2 / -math.log(b2)


def adagrad_time(weight: float, *, learning_rate: float, init: float, accumulator: float = 0.0) -> float:
    """Steps that Adagrad with coupled L2 needs from init to a smaller weight, in the continuous limit: a closed form.

    `w' = -lr w / r`, `(r^2)' = w^2` conserve `w^2 + 4 lr r`, so with `r_end = r_0 + init^2 / (4 lr)`

        t = (2 r_end ln(init / weight) - (r_end - r_0) (1 - (weight / init)^2)) / (2 lr)

    `accumulator` is `r_0^2`: what the sum starts at (epsilon included, where it is inside the root) over strength^2.
    The strength plays no part where it is 0. It is early by about `3 learning_rate / init` of t in the long
    run, and by twice that on the first half of the way; `steps_to` is not.
    """
    start = math.sqrt(accumulator)
    growth = init**2 / (4 * learning_rate)
    logarithm = 2 * (start + growth) * math.log(init / weight)
    return (logarithm - growth * (1 - (weight / init) ** 2)) / (2 * learning_rate)


# Exact: a linear recursion of order two


@dataclass(frozen=True)
class _Path:
    """`w_{k+1} = (2 - s) w_k - b w_{k-1}`, `s = 1 - b + h`, from w_0 and w_1.

    Written in b, the product of the roots, and h, that of their distances to 1: for a weak penalty h is tiny, and
    `1 - root = 2 h / (s + sqrt(s^2 - 4 h))` has no cancellation. Heavy ball has b = mu, Nesterov b = mu (1 - h).
    """

    first: float
    second: float
    b: float
    h: float

    @cached_property
    def s(self) -> float:
        return 1 - self.b + self.h

    @cached_property
    def discriminant(self) -> float:
        """`s^2 - 4 h`; factored where possible, which keeps its digits near the double root."""
        if self.b < 0:
            return self.s**2 - 4 * self.h
        root = math.sqrt(self.b)
        return ((1 - root) ** 2 - self.h) * ((1 + root) ** 2 - self.h)

    @cached_property
    def oscillates(self) -> bool:
        return self.discriminant < 0

    @cached_property
    def real_root(self) -> float:
        """The real root of larger modulus."""
        distance, a = math.sqrt(self.discriminant), 2 - self.s
        return 1 - 2 * self.h / (self.s + distance) if a >= 0 else (a - distance) / 2

    @cached_property
    def log_radius(self) -> float:
        """Logarithm of the larger modulus of the roots."""
        if self.oscillates:
            return math.log(self.b) / 2
        root = self.real_root
        if root > 0 and self.s > 0:
            return math.log1p(-2 * self.h / (self.s + math.sqrt(self.discriminant)))
        return math.log(abs(root)) if root else -math.inf

    @property
    def radius(self) -> float:
        return math.exp(self.log_radius)

    @property
    def radius_is_positive_root(self) -> bool:
        return not self.oscillates and self.real_root > 0

    def at(self, k: Any) -> np.ndarray:
        """w_k, for an array of k >= 0."""
        k = np.asarray(k, np.float64)
        return self._complex(k) if self.oscillates else self._real(k)

    def _complex(self, k: np.ndarray) -> np.ndarray:
        modulus, height, a = math.sqrt(self.b), math.sqrt(-self.discriminant), 2 - self.s
        angle = math.atan2(height, a)
        wave = np.sin(k * angle) * (2 * modulus / height)
        cosine = np.cos(k * angle) - a / (2 * modulus) * wave
        return np.exp(k * self.log_radius) * (self.first * cosine + self.second / modulus * wave)

    def _real(self, k: np.ndarray) -> np.ndarray:
        root = self.real_root
        if root == 0:
            return np.where(k == 0, self.first, np.where(k == 1, self.second, 0.0))
        sign = 1.0 if root > 0 else np.where(k % 2 == 0, 1.0, -1.0)
        factor = (self.second - root * self.first) / root
        return sign * np.exp(k * self.log_radius) * (self.first + factor * self._geometric_sum(k))

    def _ratio(self) -> float:
        """The smaller real root over the larger."""
        return self.b / self.real_root**2

    def _geometric_sum(self, k: np.ndarray) -> np.ndarray:
        """`1 + ratio + .. + ratio^(k-1)`: k at the double root."""
        ratio = self._ratio()
        if self.discriminant == 0:
            return k
        if ratio <= 0.5:
            return (1 - ratio**k) / (1 - ratio)
        logarithm = math.log1p(-math.sqrt(self.discriminant) / abs(self.real_root))
        return np.expm1(k * logarithm) / math.expm1(logarithm)

    def settled(self, k: int) -> bool:
        """Whether after k steps the path is a geometric sequence to all digits."""
        return not self.oscillates and (self.real_root == 0 or abs(self._ratio()) ** k < 1e-18)

    def first_below(self, threshold: float, limit: float = math.inf) -> float:
        """First k in [1, limit] with |w_k| < threshold; inf if there is none."""
        start, size = 1, 256
        while start <= limit:
            size = int(min(size, limit - start + 1))
            below = np.flatnonzero(np.abs(self.at(np.arange(start, start + size))) < threshold)
            if below.size:
                return float(start + below[0])
            start, size = start + size, min(2 * size, _CHUNK)
            if self.settled(start) or (self.log_radius >= 0 and start > _UNSTABLE):
                return self._tail(threshold, start, limit)
        return math.inf

    def _tail(self, threshold: float, start: int, limit: float) -> float:
        if self.log_radius >= 0:
            return math.inf
        more = math.log(abs(float(self.at(start))) / threshold) / -self.log_radius
        if not start + more <= limit + 2:
            return math.inf
        near = start + np.maximum(np.floor(more) + np.arange(-2.0, 4.0), 0)
        near = near[np.abs(self.at(near)) < threshold]
        return float(near[0]) if near.size and near[0] <= limit else math.inf


_CHUNK = 65536
_UNSTABLE = 1_000_000


def _geometric(init: float, share: float) -> _Path:
    """`w_t = (1 - share)^t init`."""
    return _Path(init, init - share * init, 0.0, share)


def _momentum_path(h: float, init: float, momentum: float, nesterov: bool | float) -> _Path:
    """Momentum SGD with coupled L2, h = learning_rate * strength; its velocity starts at 0."""
    if nesterov:
        return _Path(init, init - h * (1 + momentum) * init, momentum * (1 - h), h)
    return _Path(init, init - h * init, momentum, h)


# Approximate: momentum SGD with a gain that drifts

_DRIFT = 0.02
"""How much ln(gain) may change within a block."""
_DRIFT_FINE = 0.004
"""The same where the weight oscillates, as the phase decides when a step happens to land near zero; and for Adadelta,
whose accumulator of moves grows by the small difference of two terms."""
_LONGEST = 2**40
_MOST_BLOCKS = 20_000
_STARTUP = 20
"""Steps after which a stable gain counts as settled."""
_PATIENCE = 2000
"""Steps after which a gain that never settled is given up."""
_GONE = 1e-120
"""Share of the first weight below which a path ends: squares must not underflow."""


class _State(NamedTuple):
    """The accumulators, in units of w: moments of g divided by strength, or strength^2."""

    weight: float
    momentum: float = 0.0
    second: float = 0.0
    """running mean (Adagrad: sum) of w^2; Adamax: running maximum of |w|"""
    top: float = 0.0
    """AMSGrad: largest second so far"""
    moves: float = 0.0
    """Adadelta: running mean square of its steps, before the learning rate"""


@dataclass(frozen=True)
class _Rule:
    """An adaptive optimizer with coupled L2. Formulas: docs/conventions.md."""

    name: str
    convention: str
    learning_rate: float
    strength: float
    hyper: dict[str, float]

    @cached_property
    def b1(self) -> float:
        return self.hyper.get("b1", 0.0)

    @cached_property
    def memory(self) -> float:
        """What is kept of the second moment in a step."""
        return next((self.hyper[name] for name in ("b2", "decay", "rho") if name in self.hyper), 1.0)

    @cached_property
    def share(self) -> float:
        """What a square adds to the second moment."""
        return 1.0 if self.name == "adagrad" else 1 - self.memory

    @cached_property
    def eps(self) -> float:
        """Epsilon outside the root, in units of w."""
        return self.hyper["eps"] / self.strength

    @cached_property
    def eps_inside(self) -> float:
        """Epsilon inside the root, in units of w^2."""
        return self.hyper["eps"] / self.strength**2

    @cached_property
    def inside(self) -> bool:
        return self.name == "adadelta" or (
            self.name in ("rmsprop", "adagrad") and self.convention in ("keras", "optax")
        )

    @property
    def maximum_of_shifted(self) -> bool:
        return self.name == "adamax" and self.convention in ("torch", "optax")

    @property
    def comes_back(self) -> bool:
        """Whether zero is unstable once the second moment has been forgotten, so that a vanished weight grows again."""
        if self.name not in ("adam", "adamax", "rmsprop"):
            return False
        floor = math.sqrt(self.eps_inside) if self.inside else self.eps
        return self.learning_rate * (1 - self.b1) > 2 * (1 + self.b1) * floor

    def start(self, init: float) -> _State:
        return _State(init, second=self.hyper.get("initial_accumulator_value", 0.0) / self.strength**2)

    def gain(self, t: int, state: _State) -> float:
        """G of step t, from the accumulators that hold the gradient of that step; 0/0 is 0."""
        denominator = self.denominator(t, state)
        moves = math.sqrt(state.moves + self.hyper["eps"]) if self.name == "adadelta" else 1.0
        return self.learning_rate * moves / denominator if denominator else 0.0

    def denominator(self, t: int, state: _State) -> float:
        if self.inside:
            return math.sqrt(state.second + self.eps_inside)
        if self.name in ("adam", "amsgrad"):
            return self._moment_denominator(t, state.top if self.name == "amsgrad" else state.second)
        if self.name == "adamax":
            shift = 0.0 if self.maximum_of_shifted else self.eps
            return _correction(self.b1, t) * (state.second + shift)
        return math.sqrt(state.second) + self.eps

    def _moment_denominator(self, t: int, second: float) -> float:
        c1, c2 = _correction(self.b1, t), _correction(self.memory, t)
        if self.name == "amsgrad" and self.convention == "paper":
            return math.sqrt(second) + self.eps
        if self.name == "amsgrad" and self.convention == "optax":
            return c1 * (math.sqrt(second) + self.eps)
        if self.convention == "keras":
            return c1 / math.sqrt(c2) * (math.sqrt(second) + self.eps)
        return c1 * (math.sqrt(second / c2) + self.eps)

    def advance(self, state: _State, t: int, block: _Block) -> _State:
        """The state after a block that starts after step t."""
        weight, momentum = float(block.path.at(block.length)), float(block.momentum.at(block.length))
        return self.accumulate(state, t, block)._replace(weight=weight, momentum=momentum)

    def accumulate(self, state: _State, t: int, block: _Block) -> _State:
        """The accumulators after a block; a step sees the weight that it starts from."""
        if self.name == "adamax":
            seen = abs(float(block.path.at(block.length - 1))) + (self.eps if self.maximum_of_shifted else 0.0)
            return state._replace(second=max(self.memory**block.length * state.second, seen))
        second = self._second(state, block)
        if self.name == "amsgrad":
            corrected = second / _correction(self.memory, t + block.length) if self.convention == "optax" else second
            return state._replace(second=second, top=max(state.top, corrected))
        if self.name == "adadelta":
            return state._replace(second=second, moves=self._moves(state, block, second))
        return state._replace(second=second)

    def _moves(self, state: _State, block: _Block, second: float) -> float:
        """Adadelta's mean square of moves: `a <- rho a + (1 - rho) r (a + eps)`, `r = w^2 / (v + eps)`.

        Linear in a where r is frozen, at the mean of its ends. Freezing the gain instead would lose a's growth, which
        is the small difference of the two terms.
        """
        first = state.weight**2 / (self.memory * state.second + self.share * state.weight**2 + self.eps_inside)
        last = float(block.path.at(block.length - 1)) ** 2 / (second + self.eps_inside)
        r = (first + last) / 2
        kept = block.length * math.log(self.memory + self.share * r)
        reached = self.hyper["eps"] * r / (1 - r) if r != 1 else 0.0
        grown = -math.expm1(kept) * reached if r != 1 else block.length * self.share * self.hyper["eps"]
        return math.exp(kept) * state.moves + grown

    def _second(self, state: _State, block: _Block) -> float:
        """Second moment after a block: (w^2, w m, m^2, second) follow a linear map, here to the power of the length."""
        w, m = state.weight, state.momentum
        if block.length == 1:
            return self.memory * state.second + self.share * w**2
        c = 1 - self.b1
        p, q = 1 - block.gain * c, -block.gain * self.b1
        step = np.array(
            [
                [p * p, 2 * p * q, q * q, 0.0],
                [p * c, p * self.b1 + q * c, q * self.b1, 0.0],
                [c * c, 2 * c * self.b1, self.b1**2, 0.0],
                [self.share, 0.0, 0.0, self.memory],
            ]
        )
        moments = np.array([w * w, w * m, m * m, state.second])
        return float((np.linalg.matrix_power(step, block.length) @ moments)[3])


class _Block(NamedTuple):
    """Some steps with one gain: the weight's path, and that of the first moment."""

    length: int
    gain: float
    path: _Path
    momentum: _Path


def _block(rule: _Rule, state: _State, gain: float, length: int) -> _Block:
    w, m, c = state.weight, state.momentum, 1 - rule.b1
    next_m = rule.b1 * m + c * w
    h = gain * c
    return _Block(length, gain, _Path(w, w - gain * next_m, rule.b1, h), _Path(m, next_m, rule.b1, h))


def _blocks(rule: _Rule, init: float) -> Iterator[_Block]:
    """The path in blocks of frozen gain; ends where the weight is gone, or where the gain is unstable."""
    state, t, length, settled = rule.start(init), 0, 1, False
    for _ in range(_MOST_BLOCKS):
        block, state = _next_block(rule, state, t, length)
        unstable = block.gain * (1 - rule.b1) > 2 * (1 + rule.b1)
        if unstable and (settled or t > _PATIENCE):
            return
        settled = settled or (t > _STARTUP and not unstable)
        yield block
        t, length = t + block.length, min(2 * block.length + 1, _LONGEST)
        if max(abs(state.weight), abs(state.momentum)) < _GONE * abs(init) or not math.isfinite(state.weight):
            return


def _next_block(rule: _Rule, state: _State, t: int, length: int) -> tuple[_Block, _State]:
    """The longest block, of at most `length` steps, within which the gain drifts little; and what follows it."""
    single = _block(rule, state, 0.0, 1)
    first = rule.gain(t + 1, rule.accumulate(state, t, single)._replace(moves=state.moves))
    while length > 1:
        trial = _block(rule, state, first, length)
        half = trial._replace(length=(length + 1) // 2)
        middle, end = rule.advance(state, t, half), rule.advance(state, t, trial)
        gains = [first, _last_gain(rule, state, t, half, middle), _last_gain(rule, state, t, trial, end)]
        allowed = _DRIFT_FINE if trial.path.oscillates or rule.name == "adadelta" else _DRIFT
        if _drift(rule, gains, (state, middle, end)) < allowed:
            block = _block(rule, state, _mean_gain(gains, length), length)
            after = rule.advance(state, t, block)
            return block, after._replace(top=max(after.top, middle.top))
        length //= 2
    block = _block(rule, state, first, 1)
    return block, rule.advance(state, t, block)


def _last_gain(rule: _Rule, state: _State, t: int, block: _Block, after: _State) -> float:
    """The gain of the last step of a block. Adadelta takes it from the moves before that step."""
    if rule.name == "adadelta":
        before = rule.advance(state, t, block._replace(length=block.length - 1))
        after = after._replace(moves=before.moves)
    return rule.gain(t + block.length, after)


def _mean_gain(gains: list[float], length: int) -> float:
    """Geometric mean over an odd number of steps, from its first, middle and last; exact if ln(gain) is a parabola."""
    n = (length - 1) // 2
    ends = (n + 1) / (6 * n)
    first, middle, last = (math.log(gain) for gain in gains)
    return math.exp(ends * (first + last) + (1 - 2 * ends) * middle)


def _drift(rule: _Rule, gains: list[float], states: tuple[_State, ...]) -> float:
    """Change of ln(gain); near AMSGrad's maximum also that of the second moment, so that it is not stepped over."""
    values = [gains]
    if rule.name == "amsgrad" and 2 * max(state.second for state in states) > states[0].top:
        values.append([state.second for state in states])
    if not all(0 < value < math.inf for some in values for value in some):
        return math.inf
    return max(math.log(max(some) / min(some)) for some in values)


def _approximate_path(rule: _Rule, init: float, steps: int) -> np.ndarray:
    out = np.full(steps + 1, math.nan)
    out[0] = init
    if not _in_range(rule, init):
        return out
    done, last = 0, None
    for block in _blocks(rule, init):
        count = min(block.length, steps - done)
        out[done + 1 : done + count + 1] = block.path.at(np.arange(1, count + 1))
        done, last = done + count, block
        if done == steps:
            return out
    if last is not None and _vanished(last, init) and not rule.comes_back:
        out[done + 1 :] = 0.0
    return out


def _vanished(block: _Block, init: float) -> bool:
    ends = (float(path.at(block.length)) for path in (block.path, block.momentum))
    return max(map(abs, ends)) < _GONE * abs(init)


def _first_in_blocks(rule: _Rule, init: float, first_in: Callable[[_Block], float]) -> float:
    """First step of which `first_in` says which one of its block it is (inf: none); nan if the blocks end before."""
    done = 0
    for block in _blocks(rule, init):
        found = first_in(block)
        if math.isfinite(found):
            return done + found
        done += block.length
    return math.nan


def _correction(b: float, t: int) -> float:
    """`1 - b^t`."""
    return -math.expm1(t * math.log(b)) if b > 0 else 1.0


# What is asked for


class _L2(NamedTuple):
    strength: float
    name: str = "l2"


def _case(
    optimizer: str, regularizer: Any, learning_rate: float, init: float, convention: str, given: dict[str, Any]
) -> _Path | _Rule:
    """The closed form, or the rule to approximate."""
    _require_choice("optimizer", optimizer, OPTIMIZERS)
    _require_choice("convention", convention, CONVENTIONS)
    hyper = _hyper(optimizer, convention, given)
    _require(
        _is_number(learning_rate) and learning_rate > 0, "learning_rate", learning_rate, "a constant, finite and > 0"
    )
    _require(_is_number(init), "init", init, "a finite number")
    name, strength = _penalty(regularizer)
    learning_rate, init = float(learning_rate), float(init)
    if name != "l2":
        return _geometric(init, strength * learning_rate if name == "wd-lr" else strength)
    if optimizer == "sgd":
        return _momentum_path(learning_rate * strength, init, float(hyper["momentum"]), hyper["nesterov"])
    if strength == 0 or init == 0 or (optimizer == "adadelta" and hyper["eps"] == 0):
        return _geometric(init, 0.0)
    return _Rule(optimizer, convention, learning_rate, strength, {k: float(v) for k, v in hyper.items()})


def _penalty(regularizer: Any) -> tuple[str, float]:
    if regularizer is None:
        return "none", 0.0
    name, strength = getattr(regularizer, "name", None), getattr(regularizer, "strength", None)
    _require(name in ("l2", "wd", "wd-lr"), "regularizer", regularizer, "None, or named one of l2 wd wd-lr")
    number = float(strength) if strength is not None and _is_number(strength) else math.nan
    _require(number >= 0, "strength", strength, "finite and >= 0")
    _require(name != "wd" or number < 1, "strength", strength, "in [0, 1) for wd")
    return str(name), number


def _hyper(optimizer: str, convention: str, given: dict[str, Any]) -> dict[str, float | bool]:
    hyper = dict(DEFAULTS[optimizer][convention])
    for field, value in given.items():
        _require_choice(f"hyperparameter of {optimizer}", field, tuple(hyper))
        if value is None:
            continue
        if field == "nesterov":
            _require(isinstance(value, bool), field, value, "True or False")
        elif field in ("eps", "initial_accumulator_value"):
            _require(_is_number(value) and value >= 0, field, value, "finite and >= 0")
        else:
            _require(_is_number(value) and 0 <= value < 1, field, value, "in [0, 1)")
        hyper[field] = value
    return hyper


def _in_range(rule: _Rule, init: float) -> bool:
    if not all(_within(name, value) for name, value in rule.hyper.items() if name in RANGE):
        return False
    if rule.name == "adadelta":
        fits = _within("learning_rate of adadelta", rule.learning_rate)
    else:
        fits = _within("learning_rate / |init|", rule.learning_rate / abs(init))
    return fits and _within("strength", rule.strength)


def _within(field: str, value: float) -> bool:
    """Whether a number is in its range, whose bounds may be missed by rounding."""
    low, high = RANGE[field]
    return low * (1 - 1e-9) <= value <= high * (1 + 1e-9)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool | str):
        return False
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def _require(condition: bool, name: str, value: object, allowed: str) -> None:
    if not condition:
        raise ValueError(f"{name} must be {allowed}, got {value!r}")


def _require_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    _require(value in allowed, name, value, "one of " + " ".join(allowed))
