"""What a regularizer makes of one weight whose loss gradient is noise: mean path, spread, and where both end.

The gradient of the loss in each step is normal and independent of all others, of standard deviation `noise` and mean
`gradient` (0 if not given). As in `jaxsparse.theory` the learning rate is constant, and conventions and hyperparameters
are those of `jaxsparse.rules`.

One idea. Momentum SGD is linear in the weight and the gradient, so mean and covariance of weight and first moment have
recursions of their own, exactly. An adaptive rule is momentum SGD with a gain G that depends on its second moment; of
that only the mean is kept, in which noise counts as any other gradient,

    E[g^2] = (strength mean(w) + gradient)^2 + strength^2 var(w) + noise^2

What the fluctuation of the second moment about its mean adds is of first order in 1 - b2, and known in closed form
(`_Corrections`). Without noise the recursion is that of the rule itself, digit for digit.

    predict                 mean and deviation after each step; noise and gradient may change from step to step
    steps_to                the first step after which the root mean square is below a threshold
    stationary_deviation    where the deviation ends, so whether the weight stays below a threshold
    largest_noise           with which it does
    time_constant           in how many steps the mean falls by e
    equilibria              where a mean gradient holds a weight against L2, and whether it holds
    lag                     how long an adaptive rule remembers that there was more noise
    largest_second_moment   what AMSGrad divides by

Exact for SGD and heavy ball, approximate for the rest. Derivations, measured errors and their range: docs/theory.md.
Everything is float64 NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from jaxsparse.checks import InvalidInput, require
from jaxsparse.rules import RULES
from jaxsparse.rules.law import Block, Law, State
from jaxsparse.rules.recursion import geometric, momentum_sgd
from jaxsparse.theory import checked, is_number, penalty

OPTIMIZERS: tuple[str, ...] = ("sgd", "adam", "amsgrad", "rmsprop", "adagrad")
"""The rules that `predict` knows: of SGD not Nesterov's form, of AMSGrad not optax's. The largest of its bias-corrected
second moments is one of the first few gradients, and so differs from weight to weight."""
FORGETTING: tuple[str, ...] = ("sgd", "adam", "rmsprop")
"""Those whose gain settles. That of AMSGrad and Adagrad falls for ever, and with it the deviation, if slowly."""

Gradient: TypeAlias = ArrayLike | Callable[[float], float]
"""Mean of the loss gradient: a number, one for each step `[steps]`, or a function of the weight."""


class Moments(NamedTuple):
    """Of the weight before the first step and after each.

    Example:
      >>> import jaxsparse as js
      >>> law = js.noise.predict("sgd", js.CoupledL2(0.1), learning_rate=0.1, init=1.0, noise=0.5, steps=1000)
      >>> law.mean.shape, f"{law.mean[-1]:.3f} ± {law.deviation[-1]:.2f}"
      ((1001,), '0.000 ± 0.35')
    """

    mean: np.ndarray
    """`[steps + 1]`"""
    deviation: np.ndarray
    """`[steps + 1]`: standard deviation over draws of the noise"""

    @property
    def rms(self) -> np.ndarray:
        """`[steps + 1]`: root mean square of the weight."""
        return np.hypot(self.mean, self.deviation)


class Equilibrium(NamedTuple):
    """A weight at which a mean gradient and L2 cancel.

    Example:
      >>> import jaxsparse as js
      >>> [held] = js.noise.equilibria(lambda w: -1e-3, 1e-2, 0.0, 1.0)
      >>> round(held.weight, 3), held.stable
      (0.1, True)
    """

    weight: float
    stable: bool
    """whether a weight beside it comes back"""


def predict(
    optimizer: object,
    regularizer: Any,
    *,
    learning_rate: float,
    init: float,
    noise: ArrayLike,
    steps: int,
    gradient: Gradient = 0.0,
    convention: str = "torch",
    **hyper: float | bool | None,
) -> Moments:
    """Mean and standard deviation of the weight before the first step and after each.

    Args:
      optimizer: one of `OPTIMIZERS`.
      regularizer: as for `theory.predict`.
      learning_rate: constant, > 0.
      init: the weight at the start.
      noise: standard deviation of the loss gradient in a step, >= 0: a number, or one for each step `[steps]`.
      steps: how many, >= 0.
      gradient: its mean: a number, one for each step `[steps]`, or a function of the weight, which is taken to be
        linear over the deviation of the weight.
      convention: one of `jaxsparse.rules.CONVENTIONS`.
      **hyper: hyperparameters by optax's names; what is not given has the convention's default.

    Returns:
      inf, both, from where a learning rate that is too large has made the weight 1e100.

    Raises:
      InvalidInput: naming the field and the allowed values.

    Example:
      >>> import jaxsparse as js
      >>> settings = {"learning_rate": 1e-3, "init": 1.0, "steps": 1000, "b2": 0.99}
      >>> for noise in (0.0, 1e-3):
      ...     mean, deviation = js.noise.predict("adam", js.CoupledL2(1e-3), noise=noise, **settings)
      ...     print(f"noise {noise}: {mean[-1]:.2f} ± {deviation[-1]:.3f}")
      noise 0.0: 0.14 ± 0.000
      noise 0.001: 0.45 ± 0.016
    """
    case = _case(optimizer, regularizer, learning_rate, init, convention, hyper)
    require(isinstance(steps, int | np.integer) and steps >= 0, "steps", steps, "an integer >= 0")
    noises = _each_step("noise", noise, steps)
    require(bool(np.all(noises >= 0)), "noise", noise, "finite and >= 0")
    if callable(gradient):
        path = _recursion(case, init, noises, lambda t, w: (float(gradient(w)), _slope(gradient, w)))
    else:
        means = _each_step("gradient", gradient, steps).tolist()
        path = _recursion(case, init, noises, lambda t, w: (means[t], 0.0))
    mean, variance = np.array(list(path)).T
    return Moments(mean, np.sqrt(variance))


def steps_to(
    threshold: float,
    optimizer: object,
    regularizer: Any,
    *,
    learning_rate: float,
    init: float,
    noise: float,
    within: int = 100_000,
    convention: str = "torch",
    **hyper: float | bool | None,
) -> float:
    """The first step after which the root mean square of the weight is below a threshold; gradient of mean 0.

    Args:
      threshold: > 0.
      noise: a number >= 0.
      within: how many steps are looked at, >= 1.
      optimizer: and all others: as for `predict`.

    Returns:
      inf where it is not within these steps, and never will be, as `stationary_deviation` is not below the threshold;
      nan where it is not within these steps, and may be later.

    Raises:
      InvalidInput: naming the field and the allowed values.

    Example:
      >>> import jaxsparse as js
      >>> settings = {"learning_rate": 1e-3, "init": 1.0, "b2": 0.99}
      >>> [js.noise.steps_to(1e-2, "adam", js.CoupledL2(1e-3), noise=noise, **settings) for noise in (0.0, 1e-4)]
      [1297.0, 1425.0]
    """
    require(is_number(threshold) and threshold > 0, "threshold", threshold, "a finite number > 0")
    require(isinstance(within, int | np.integer) and within >= 1, "within", within, "an integer >= 1")
    case = _case(optimizer, regularizer, learning_rate, init, convention, hyper)
    noise = _noise(noise)
    path = _recursion(case, init, np.full(within, noise), lambda t, w: (0.0, 0.0))
    for t, (mean, variance) in enumerate(path):
        if mean**2 + variance < threshold**2:
            return float(t)
    return math.inf if case.name in FORGETTING and case.stationary(noise) >= threshold else math.nan


def stationary_deviation(
    optimizer: object,
    regularizer: Any,
    *,
    learning_rate: float,
    noise: float,
    convention: str = "torch",
    **hyper: float | bool | None,
) -> float:
    """Standard deviation of the weight in the long run, about where its mean is.

    Coupled L2 of strength p, with `a = (1 - b1) / (1 + b1)` (SGD: b1 is the momentum):

        sd^2 = G noise^2 / (p (2 - p G a)),   SGD G = lr / (1 - b1),   Adam G = lr / (sqrt(noise^2 + p^2 sd^2) + eps)

    and so with weak noise the cycle's amplitude `theory.cycle_amplitude`, with strong `sqrt(lr noise / (2 p))`; Adam's
    corrected by `_Corrections`. Decoupled decay by a share k of the weight a step: about `sqrt(G^2 noise^2 / (2 k))`,
    which for Adam does not depend on the noise. Heavy ball: the stationary variance of an autoregression of order two.

    Args:
      optimizer: one of `FORGETTING`; and all others: as for `predict`.
      noise: a number >= 0.

    Returns:
      inf where nothing pulls the weight back, or the learning rate is too large to be stable.

    Raises:
      InvalidInput: naming the field and the allowed values.

    Example:
      >>> import jaxsparse as js
      >>> round(js.noise.stationary_deviation("sgd", js.CoupledL2(1e-2), learning_rate=0.1, noise=0.1), 3)
      0.224
    """
    case = _settling(optimizer, regularizer, learning_rate, convention, hyper)
    return case.stationary(_noise(noise))


def largest_noise(
    threshold: float,
    optimizer: object,
    regularizer: Any,
    *,
    learning_rate: float,
    convention: str = "torch",
    **hyper: float | bool | None,
) -> float:
    """With how much noise the stationary deviation still is below a threshold: a weight counts as dead below it.

    With coupled L2 of strength p and weak penalties, of SGD about `threshold sqrt(2 p (1 - momentum) / lr)`, of Adam
    about `2 p threshold^2 / lr` where the threshold is far above the learning rate.

    Args:
      threshold: > 0.
      optimizer: one of `FORGETTING`; and all others: as for `predict`.

    Returns:
      0 where the weight does not stay below even with hardly any noise; inf where it does with any.

    Raises:
      InvalidInput: naming the field and the allowed values.

    Example:
      With less, a weight under momentum SGD stays below the threshold.

      >>> import jaxsparse as js
      >>> print(f"{js.noise.largest_noise(1e-3, 'sgd', js.CoupledL2(1e-3), learning_rate=0.1, momentum=0.9):.1e}")
      4.5e-05
    """
    require(is_number(threshold) and threshold > 0, "threshold", threshold, "a finite number > 0")
    case = _settling(optimizer, regularizer, learning_rate, convention, hyper)
    return _largest(lambda noise: case.stationary(noise) < threshold)


def time_constant(
    optimizer: object,
    regularizer: Any,
    *,
    learning_rate: float,
    noise: float,
    convention: str = "torch",
    **hyper: float | bool | None,
) -> float:
    """In how many steps the mean of the weight falls by e, once it is within a few deviations of where it ends.

    Coupled L2 of strength p: SGD about `(1 - momentum) / (lr p)`; Adam and RMSProp about `(noise + eps) / (lr p)`, and
    that holds from where p |mean| is below the noise.

    Args:
      optimizer: one of `FORGETTING`; and all others: as for `predict`.
      noise: a number > 0.

    Returns:
      inf where nothing pulls the weight back, or it does not come back.

    Raises:
      InvalidInput: naming the field and the allowed values.

    Example:
      >>> import jaxsparse as js
      >>> settings = {"learning_rate": 0.1, "noise": 0.1, "momentum": 0.9}
      >>> [round(js.noise.time_constant("sgd", js.CoupledL2(strength), **settings)) for strength in (1e-4, 1e-3)]
      [9990, 990]
    """
    case = _settling(optimizer, regularizer, learning_rate, convention, hyper)
    noise = _noise(noise)
    require(noise > 0, "noise", noise, "a finite number > 0")
    if case.coupling:
        second = noise**2 + (case.coupling * case.stationary(noise)) ** 2
        h = case.gain(second) * case.corrections.drift(noise**2 / second) * case.coupling * (1 - case.law.b1)
        return _steps_by_e(momentum_sgd(h, 1.0, case.law.b1, nesterov=False).log_radius)
    return _steps_by_e(geometric(1.0, 1 - case.keep).log_radius)


def equilibria(gradient: Callable[[float], float], strength: float, low: float, high: float) -> list[Equilibrium]:
    """Where a mean gradient c(w) of the loss holds a weight against coupled L2: `strength w + c(w) = 0`.

    The same for every rule, as none moves a weight whose gradient is as often positive as negative. Stable where
    `strength + c'(w) > 0`. A constant c holds at `-c / strength`. Where c falls away with the weight, an unstable
    equilibrium bounds the weights that are held, and a weight starts to fall when, with more strength or less c, the
    two meet and are gone.

    Args:
      gradient: from a weight to the mean of the loss gradient, continuous.
      strength: > 0.
      low, high: between which weights it is looked for.

    Returns:
      In rising order; what lies closer together than a ten-thousandth of the interval may be missed.

    Raises:
      InvalidInput: naming the field and the allowed values.

    Example:
      A loss that lets go of small weights: an unstable equilibrium bounds those that it holds.

      >>> import jaxsparse as js
      >>> pull = lambda w: -1e-3 * w**2 / (0.1 + w**2)
      >>> [(round(weight, 3), stable) for weight, stable in js.noise.equilibria(pull, 1e-3, 0.0, 2.0)]
      [(0.0, True), (0.113, False), (0.887, True)]
    """
    require(is_number(strength) and strength > 0, "strength", strength, "a finite number > 0")
    require(is_number(low) and is_number(high) and low < high, "low", low, f"a finite number below high, {high!r}")

    def force(w: float) -> float:
        return strength * w + gradient(w)

    grid = np.linspace(low, high, 10_001)
    positive = np.array([force(float(w)) > 0 for w in grid])
    return [
        Equilibrium(_root(force, float(grid[i]), float(grid[i + 1])), bool(positive[i + 1]))
        for i in np.flatnonzero(positive[1:] != positive[:-1])
    ]


def lag(before: float, after: float, b2: float) -> float:
    """By how many steps a weight starts to fall later than the noise does, under Adam or RMSProp.

    If the root mean square of the gradient drops from `before` to `after` and the weight hardly moves meanwhile, then
    `v = after^2 + (before^2 - after^2) b2^t`, and the steps that are missing from the fall with `after` are

        sum_t (1 - after / sqrt(v)) = 2 / ln(1 / b2) ln((1 + before / after) / 2)

    SGD has no lag; Adagrad's sum needs about `(before / after)^2` times the steps before to forget; AMSGrad's maximum
    never does.

    Args:
      before, after: > 0, in the gradient's unit, L2 included.
      b2: RMSProp's decay; in (0, 1).

    Raises:
      InvalidInput: naming the field and the allowed values.

    Example:
      >>> import jaxsparse as js
      >>> round(js.noise.lag(1.0, 1e-4, 0.99)), round(js.noise.lag(1.0, 1e-4, 0.999))
      (1695, 17026)
    """
    for name, value in (("before", before), ("after", after)):
        require(is_number(value) and value > 0, name, value, "a finite number > 0")
    require(is_number(b2) and 0 < b2 < 1, "b2", b2, "in (0, 1)")
    return 2 / -math.log(b2) * math.log((1 + before / after) / 2)


def largest_second_moment(steps: ArrayLike, b2: float) -> np.ndarray:
    """Mean of the largest of AMSGrad's second moments in so many steps of pure noise, in units of `noise^2`.

    For b2 near 1 the second moment is an Ornstein-Uhlenbeck process of relative variance `k = 2 (1 - b2) / (1 + b2)`,
    which gets z deviations high within t relaxation times, `t z exp(-z^2 / 2 + 0.577) = sqrt(2 pi)`. It starts at zero,
    so `t = (1 - b2) steps - 2`. Its skewness `f = 8 (1 - b2)^3 / (1 - b2^3) / k^(3/2)` enters by the first term of
    Cornish and Fisher:

        1 + sqrt(k) (z + f (z^2 - 1) / 6)

    so it grows by the root of a logarithm. 1 within the first `3 / (1 - b2)` steps or so.

    Args:
      steps: >= 0; a number or an array.
      b2: in [0, 1).

    Raises:
      InvalidInput: naming the field and the allowed values.

    Example:
      >>> import jaxsparse as js
      >>> js.noise.largest_second_moment([1000, 100_000], 0.99).round(2).tolist()
      [1.24, 1.47]
    """
    require(is_number(b2) and 0 <= b2 < 1, "b2", b2, "in [0, 1)")
    times = np.asarray(steps, np.float64)
    require(bool(np.all(times >= 0)), "steps", steps, ">= 0")
    per_height = np.maximum(times * (1 - b2) - 2, 0.0) * math.exp(np.euler_gamma) / math.sqrt(2 * math.pi)
    z = np.full_like(times, 10.0)
    for _ in range(40):
        z = np.sqrt(2 * np.log(np.maximum(per_height * z, 1.0)))
    variance = 2 * (1 - b2) / (1 + b2)
    skewness = 8 * (1 - b2) ** 3 / (1 - b2**3) / variance**1.5
    return np.maximum(1 + math.sqrt(variance) * (z + skewness * (z**2 - 1) / 6), 1.0)


# The recursion


class _Corrections(NamedTuple):
    """What the fluctuation of the second moment does to the step `m / sqrt(v)`, to first order in 1 - b2.

    `share` is that of noise in the mean of v. The mean step is multiplied by `drift`, as 1/sqrt is convex, and as a
    gradient that adds to m adds to v; the sum of the covariances of a step with all others by `spread`.
    """

    relative: float
    """`1 / n`: n = (1 + b2) / (1 - b2) squares are averaged, in effect"""
    overlap: float
    """the share that a gradient has in m times that in v, summed: `(1 - b1) (1 - b2) / (1 - b1 b2)`"""

    def drift(self, share: float) -> float:
        return 1 + share * (0.75 * (2 - share) * self.relative - self.overlap)

    def spread(self, share: float) -> float:
        return 1 + share * (2 * self.relative - 2 * self.overlap)


@dataclass(frozen=True)
class _Sgd(Law):
    """Momentum SGD divides by nothing: `v <- momentum v + g` is `m / (1 - momentum)`."""

    @cached_property
    def b1(self) -> float:
        return self.hyper["momentum"]

    def denominator(self, t: int, state: State) -> float:
        del t, state
        return 1 - self.b1


_STEP = Block(1, 0.0, geometric(0.0, 0.0), geometric(0.0, 0.0))
"""One step, as laws take it; they look at its length."""
_LATE = 10**12
"""A step by which every bias correction is 1."""
_FAR = 1e100
"""A weight, or its variance, that will not come back: squares must not overflow."""


@dataclass(frozen=True)
class _Case:
    """`m <- b1 m + (1 - b1) (coupling w + gradient)`, `w <- keep w - kick G m`, with the law's gain G."""

    name: str
    law: Law
    """in the gradient's unit, that is, of strength 1"""
    coupling: float = 0.0
    keep: float = 1.0
    kick: float = 1.0

    @cached_property
    def corrections(self) -> _Corrections:
        if self.name == "amsgrad":  # what it divides by hardly moves
            return _Corrections(0.0, 0.0)
        b1, b2 = self.law.b1, self.law.memory
        return _Corrections((1 - b2) / (1 + b2), (1 - b1) * (1 - b2) / (1 - b1 * b2))

    def gain(self, second: float) -> float:
        """In the long run, of a second moment."""
        return self.law.gain(_LATE, State(0.0, second=second))

    def stationary(self, noise: float) -> float:
        """See `stationary_deviation`."""
        b1, keep, p = self.law.b1, self.keep, self.coupling
        a = (1 - b1) / (1 + b1)
        if not p:
            if keep in (1.0, -1.0) or abs(keep) > 1:
                return math.inf
            kicks = (self.kick * self.gain(noise**2) * noise) ** 2 * self.corrections.spread(1.0)
            return math.sqrt(kicks * a * (1 + b1 * keep) / ((1 - b1 * keep) * (1 - keep**2)))

        def too_small(deviation: float) -> bool:
            second = noise**2 + (p * deviation) ** 2
            gain, share = self.gain(second), noise**2 / second
            drift, spread = self.corrections.drift(share), self.corrections.spread(share)
            return gain * noise**2 * spread / drift > p * deviation**2 * (2 - p * gain * drift * a)

        return _largest(too_small)


def _recursion(
    case: _Case, init: float, noises: np.ndarray, gradient: Callable[[int, float], tuple[float, float]]
) -> Iterator[tuple[float, float]]:
    """Mean and variance of w before the first step and after each; `gradient` gives, for a step and a weight, the mean
    of the loss gradient and its slope in w.

    The covariance is that of the recursion made linear about the mean, as a map of (w, m, v, x, y): x is the step's
    noise and y its square less 1, over sqrt(2), so that both have variance 1 and are uncorrelated.
    """
    law, b1, corrections = case.law, case.law.b1, case.corrections
    counts = np.arange(1, len(noises) + 1)
    grown = largest_second_moment(counts, law.memory) if case.name == "amsgrad" else np.ones(len(noises))
    state, w, m = law.start(), float(init), 0.0
    covariance = np.diag([0.0, 0.0, 0.0, 1.0, 1.0])
    yield w, 0.0
    for t, noise in enumerate(noises.tolist()):
        if max(abs(w), float(covariance[0, 0])) > _FAR:
            yield math.inf, math.inf
            continue
        mean, slope = gradient(t, w)
        pull, coupling = case.coupling * w + mean, case.coupling + slope
        second = pull**2 + coupling**2 * float(covariance[0, 0]) + noise**2
        share = noise**2 / second if second else 0.0
        before, state = state, law.accumulate(state._replace(weight=math.sqrt(second)), t, _STEP)
        kept, added = law.memory, law.share
        if case.name == "amsgrad":
            highest = 1 + (float(grown[t]) - 1) * math.sqrt(share * (2 - share))
            state = state._replace(top=max(state.top, highest * state.second))
            kept, added = (1.0, 0.0) if state.top == before.top else (kept, added)
        drift, spread = corrections.drift(share), corrections.spread(share)
        gain, steepness = (case.kick * drift * value for value in _gain_and_slope(law, t + 1, state))
        m = b1 * m + (1 - b1) * pull
        of_m = [(1 - b1) * coupling, b1, 0.0, (1 - b1) * noise * math.sqrt(spread) / drift, 0.0]
        of_v = [2 * added * pull * coupling, 0.0, kept, 2 * added * pull * noise, math.sqrt(2) * added * noise**2]
        of_w = [-gain * by_m - steepness * m * by_v for by_m, by_v in zip(of_m, of_v, strict=True)]
        of_w[0] += case.keep
        linear = np.array([of_w, of_m, of_v])
        covariance[:3, :3] = linear @ covariance @ linear.T
        w = case.keep * w - gain * m
        yield w, max(float(covariance[0, 0]), 0.0)


def _gain_and_slope(law: Law, t: int, state: State) -> tuple[float, float]:
    """The gain of a step, and its derivative in the second moment that it is made of."""
    gain, width = law.gain(t, state), 1e-6
    changed = law.gain(t, state._replace(second=state.second * (1 + width), top=state.top * (1 + width)))
    size = max(state.top, state.second)
    return gain, (changed - gain) / (width * size) if size else 0.0


def _slope(function: Callable[[float], float], w: float) -> float:
    width = 1e-6 * (1 + abs(w))
    return (float(function(w + width)) - float(function(w - width))) / (2 * width)


# What is asked for


def _case(
    optimizer: object, regularizer: Any, learning_rate: float, init: float, convention: str, given: dict[str, Any]
) -> _Case:
    rule, hyper = checked(optimizer, learning_rate, init, convention, given)
    require(rule.name in OPTIMIZERS, "optimizer", rule.name, f"one of {' '.join(OPTIMIZERS)} with noise")
    require(not hyper.get("nesterov"), "nesterov", True, "False with noise")
    known = rule.name != "amsgrad" or convention != "optax"
    require(known, "convention", convention, "one of torch keras paper for amsgrad with noise")
    name, strength = penalty(regularizer)
    law: Any = RULES[rule.name].law if rule.adaptive else _Sgd
    law = law(convention, float(learning_rate), 1.0, hyper, float(init))
    if name == "l2":
        return _Case(rule.name, law, coupling=strength)
    if name == "wd-lr":
        return _Case(rule.name, law, keep=1 - learning_rate * strength)
    return _Case(rule.name, law, keep=1 - strength, kick=1 - strength)


def _settling(
    optimizer: object, regularizer: Any, learning_rate: float, convention: str, given: dict[str, Any]
) -> _Case:
    case = _case(optimizer, regularizer, learning_rate, 0.0, convention, given)
    require(case.name in FORGETTING, "optimizer", case.name, f"one of {' '.join(FORGETTING)} in the long run")
    return case


def _noise(noise: Any) -> float:
    require(is_number(noise) and float(noise) >= 0, "noise", noise, "a finite number >= 0")
    return float(noise)


def _each_step(name: str, values: ArrayLike, steps: int) -> np.ndarray:
    """`[steps]` finite numbers."""
    try:
        array = np.broadcast_to(np.asarray(values, np.float64), (steps,))
    except (TypeError, ValueError):
        raise InvalidInput(f"{name} must be a number or [{steps}] numbers, one for each step, got {values!r}") from None
    require(bool(np.all(np.isfinite(array))), name, values, "finite")
    return array


# Numbers


def _largest(holds: Callable[[float], bool]) -> float:
    """The largest number that a condition holds for, which holds for all smaller ones; 0 for none, inf for any."""
    low, high = 1e-150, 1e150
    if not holds(low):
        return 0.0
    if holds(high):
        return math.inf
    while high / low > 1 + 1e-14:
        middle = math.sqrt(low) * math.sqrt(high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function changes its sign between two numbers."""
    rises = function(high) > 0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if (function(middle) > 0) == rises else (middle, high)
    return (low + high) / 2


def _steps_by_e(log_radius: float) -> float:
    return -1 / log_radius if log_radius < 0 else math.inf
