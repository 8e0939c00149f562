"""What a regularizer alone does to one weight: closed forms, and approximations with a stated range.

One weight w, a loss gradient of zero, a constant learning rate. `predict` gives the path and `steps_to` the first step
below a threshold, for the seven optimizers in the four conventions of `jaxsparse.rules`:

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
from typing import Any, NamedTuple

import numpy as np

from jaxsparse.checks import require
from jaxsparse.rules import RULES, Rule, resolve
from jaxsparse.rules.law import Block, Law, State
from jaxsparse.rules.recursion import CHUNK, Recursion, geometric, momentum_sgd

OPTIMIZERS: tuple[str, ...] = tuple(name for name, rule in RULES.items() if rule.law is not None)
"""The package's rules that there is a law of."""

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
    optimizer: object,
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
      optimizer: one of `OPTIMIZERS`, or a `jaxsparse.rules.Rule` with a law; without coupled L2, any that
        `rules.resolve` takes.
      regularizer: None, or what has a `name` of `l2` (coupled), `wd` or `wd-lr` (decoupled) and a `strength`, as
        `jaxsparse.CoupledL2` and `DecoupledDecay` have.
      learning_rate: constant, > 0.
      init: the weight at the start.
      steps: how many, >= 0.
      convention: one of `jaxsparse.rules.CONVENTIONS`.
      **hyper: hyperparameters by optax's names; what is not given has the convention's default.

    Returns:
      float64 `[steps + 1]`. For an adaptive optimizer with coupled L2: nan after step 0 outside `RANGE`, and from where
      the weight, in the long run, does not stay near zero; 0 from where it has vanished for good (below 1e-120 init).

    Raises:
      ValueError: naming the field and the allowed values.

    Example:
      >>> import jaxsparse as js
      >>> w = js.theory.predict("sgd", js.CoupledL2(1e-3), learning_rate=0.1, init=1.0, steps=10_000, momentum=0.9)
      >>> w.shape, f"{w[-1]:.1e}"
      ((10001,), '4.2e-05')
    """
    case = _case(optimizer, regularizer, learning_rate, init, convention, hyper)
    require(isinstance(steps, int | np.integer) and steps >= 0, "steps", steps, "an integer >= 0")
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if isinstance(case, Recursion):
            return case.at(np.arange(steps + 1))
        return _approximate_path(case, int(steps))


def steps_to(
    threshold: float,
    optimizer: object,
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

    Example:
      >>> import jaxsparse as js
      >>> js.theory.steps_to(1e-6, "adam", js.CoupledL2(1e-4), learning_rate=1e-3, init=1.0, b2=0.99)
      1489.0
      >>> js.theory.steps_to(1e-6, "sgd", js.CoupledL2(1e-4), learning_rate=0.1, init=1.0, momentum=0.9)
      138033.0
    """
    require(is_number(threshold) and threshold > 0, "threshold", threshold, "a finite number > 0")
    case = _case(optimizer, regularizer, learning_rate, init, convention, hyper)
    if abs(init) < threshold:
        return 0.0
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if isinstance(case, Recursion):
            return case.first_below(threshold)
        if not (_in_range(case) and _within("threshold / |init|", threshold / abs(init))):
            return math.nan
        return _first_in_blocks(case, lambda block: block.path.first_below(threshold, block.length))


# Named results


def spectral_radius(learning_rate: float, strength: float, momentum: float = 0.0, nesterov: bool = False) -> float:
    """By what factor momentum SGD with coupled L2 shrinks a weight per step, in the long run.

    The larger modulus of the two roots of `x^2 - (1 + mu - h) x + mu`, h = learning_rate * strength (Nesterov:
    `x^2 - (1 + mu)(1 - h) x + mu (1 - h)`). Without oscillation it is about `1 - h / (1 - mu)`; with, `sqrt(mu)`.
    Yaguchi et al. 2018, Proposition III.1.

    Example:
      >>> import jaxsparse as js
      >>> round(js.theory.spectral_radius(0.1, 1e-3), 6), round(js.theory.spectral_radius(0.1, 1e-3, momentum=0.9), 6)
      (0.9999, 0.998991)
    """
    return momentum_sgd(learning_rate * strength, 1.0, float(momentum), nesterov).radius


def best_momentum(learning_rate: float, strength: float, nesterov: bool = False) -> float:
    """The momentum with which SGD and coupled L2 make a weight vanish fastest, in the long run. h = rate * strength.

    Heavy ball: `(1 - sqrt(h))^2`, for 0 < h < 4. Nesterov: `(1 - sqrt(h)) / (1 + sqrt(h))`, for 0 < h < 1. Both roots
    then coincide at `1 - sqrt(h)`, against `1 - h` without momentum. Yaguchi et al. 2018, remark after Proposition
    III.1 (their formula is lost in the text at hand); Polyak 1964.

    Example:
      >>> import jaxsparse as js
      >>> momentum = js.theory.best_momentum(0.1, 1e-3)
      >>> round(momentum, 3), round(js.theory.spectral_radius(0.1, 1e-3, momentum), 3)
      (0.98, 0.99)
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

    Example:
      A weight, rate and strength ten times smaller, and epsilon a hundred times: the same path, ten times smaller.

      >>> import jaxsparse as js
      >>> for settings in ((1e-2, 1e-3, 1.0, 1e-8), (1e-3, 1e-4, 0.1, 1e-10)):
      ...     print(" ".join(f"{number:.1e}" for number in js.theory.dimensionless(*settings)))
      1.0e-02 1.0e-05
      1.0e-02 1.0e-05
    """
    return learning_rate / abs(init), eps / (strength * abs(init))


def crossing(
    optimizer: object,
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

    Example:
      >>> import jaxsparse as js
      >>> js.theory.crossing("adam", 1e-3, learning_rate=1e-3, init=1.0, b2=0.99)
      1490.0
    """
    adaptive = tuple(name for name in OPTIMIZERS if RULES[name].adaptive)
    require(resolve(optimizer).adaptive, "optimizer", optimizer, "one of " + " ".join(adaptive))
    case = _case(optimizer, _L2(strength), learning_rate, init, convention, hyper)
    if isinstance(case, Recursion) or not _in_range(case):
        return math.nan
    sign = math.copysign(1.0, init)

    def first_negative(block: Block) -> float:
        if block.path.radius_is_positive_root and block.path.at(block.length) * sign > 0 and block.length > CHUNK:
            return math.inf
        below = np.flatnonzero(block.path.at(np.arange(1, block.length + 1)) * sign < 0)
        return float(below[0] + 1) if below.size else math.inf

    with np.errstate(under="ignore"):
        return _first_in_blocks(case, first_negative)


def cycle_amplitude(learning_rate: float, strength: float, *, eps: float, b1: float = 0.0) -> float:
    """Amplitude of the cycle of period two, w = +a, -a, of RMSProp (b1 = 0) and Adam, epsilon outside the root.

    In it sqrt(v) = strength a and `m = strength w (1 - b1) / (1 + b1)`, so that the step is 2 a for

        a = learning_rate (1 - b1) / (2 (1 + b1)) - eps / strength

    or 0 where that is negative: there the weight dies. It is positive exactly where zero is unstable,
    `learning_rate strength / eps > 2 (1 + b1) / (1 - b1)`, which is 38 for b1 = 0.9. RMSProp settles in this cycle,
    unless its squares underflow in the dive before (`dive_depth`; float32 at b2 = 0.99). Adam with momentum does not:
    it comes in bursts, whose root mean square is close to a (measured: docs/theory.md).

    Example:
      >>> import jaxsparse as js
      >>> print(f"{js.theory.cycle_amplitude(1e-3, 1e-3, eps=1e-8):.2e}")
      4.90e-04
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

    Example:
      >>> import jaxsparse as js
      >>> bound = js.theory.doubly_exponential_bound(600, learning_rate=1e-3, init=0.15, b2=0.99)
      >>> [f"{bound[step]:.0e}" for step in (0, 200, 400, 600)]
      ['1e-01', '1e-01', '9e-02', '3e-02']
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

    Example:
      >>> import jaxsparse as js
      >>> round(js.theory.fall_before_oscillation(0.99, 0.9), 1)
      -6.4
    """
    return _fall(b2, b1, (1 - math.sqrt(b1)) / (1 + math.sqrt(b1)))


def dive_depth(b2: float, b1: float = 0.0) -> float:
    """Natural logarithm of how far a weight falls before RMSProp (b1 = 0) or Adam throws it back, without epsilon.

    As `fall_before_oscillation`, up to the gain `2 (1 + b1) / (1 - b1)` above which zero is unstable. For RMSProp it is
    `pi^2 / (2 ln b2)`: -491 at decay 0.99. Leading order in 1 - b2.

    Example:
      >>> import jaxsparse as js
      >>> round(js.theory.dive_depth(0.99), 1), round(js.theory.dive_depth(0.999), 1)
      (-491.0, -4932.3)
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
    logs = [max(Recursion(1.0, 1.0, b1, (1 - b1) * float(g)).log_radius, -50.0) for g in gains]
    return (float(np.sum(logs)) * width - smallest) * 2 / -math.log(b2)


def adagrad_time(weight: float, *, learning_rate: float, init: float, accumulator: float = 0.0) -> float:
    """Steps that Adagrad with coupled L2 needs from init to a smaller weight, in the continuous limit: a closed form.

    `w' = -lr w / r`, `(r^2)' = w^2` conserve `w^2 + 4 lr r`, so with `r_end = r_0 + init^2 / (4 lr)`

        t = (2 r_end ln(init / weight) - (r_end - r_0) (1 - (weight / init)^2)) / (2 lr)

    `accumulator` is `r_0^2`: what the sum starts at (epsilon included, where it is inside the root) over strength^2.
    The strength plays no part where it is 0. It is early by about `3 learning_rate / init` of t in the long
    run, and by twice that on the first half of the way; `steps_to` is not.

    Example:
      >>> import jaxsparse as js
      >>> print(f"{js.theory.adagrad_time(1e-3, learning_rate=1e-2, init=1.0):.3g}")
      1.6e+04
    """
    start = math.sqrt(accumulator)
    growth = init**2 / (4 * learning_rate)
    logarithm = 2 * (start + growth) * math.log(init / weight)
    return (logarithm - growth * (1 - (weight / init) ** 2)) / (2 * learning_rate)


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


def _block(rule: Law, state: State, gain: float, length: int) -> Block:
    w, m, c = state.weight, state.momentum, 1 - rule.b1
    next_m = rule.b1 * m + c * w
    h = gain * c
    return Block(length, gain, Recursion(w, w - gain * next_m, rule.b1, h), Recursion(m, next_m, rule.b1, h))


def _blocks(rule: Law) -> Iterator[Block]:
    """The path in blocks of frozen gain; ends where the weight is gone, or where the gain is unstable."""
    state, t, length, settled = rule.start(), 0, 1, False
    for _ in range(_MOST_BLOCKS):
        block, state = _next_block(rule, state, t, length)
        unstable = block.gain * (1 - rule.b1) > 2 * (1 + rule.b1)
        if unstable and (settled or t > _PATIENCE):
            return
        settled = settled or (t > _STARTUP and not unstable)
        yield block
        t, length = t + block.length, min(2 * block.length + 1, _LONGEST)
        if max(abs(state.weight), abs(state.momentum)) < _GONE * abs(rule.init) or not math.isfinite(state.weight):
            return


def _next_block(rule: Law, state: State, t: int, length: int) -> tuple[Block, State]:
    """The longest block, of at most `length` steps, within which the gain drifts little; and what follows it."""
    single = _block(rule, state, 0.0, 1)
    first = rule.gain(t + 1, rule.accumulate(state, t, single)._replace(moves=state.moves))
    while length > 1:
        trial = _block(rule, state, first, length)
        half = trial._replace(length=(length + 1) // 2)
        middle, end = rule.advance(state, t, half), rule.advance(state, t, trial)
        gains = [first, rule.last_gain(t, state, half, middle), rule.last_gain(t, state, trial, end)]
        allowed = _DRIFT_FINE if trial.path.oscillates or rule.needs_short_blocks else _DRIFT
        if _drift(rule, gains, (state, middle, end)) < allowed:
            block = _block(rule, state, _mean_gain(gains, length), length)
            after = rule.advance(state, t, block)
            return block, after._replace(top=max(after.top, middle.top))
        length //= 2
    block = _block(rule, state, first, 1)
    return block, rule.advance(state, t, block)


def _mean_gain(gains: list[float], length: int) -> float:
    """Geometric mean over an odd number of steps, from its first, middle and last; exact if ln(gain) is a parabola."""
    n = (length - 1) // 2
    ends = (n + 1) / (6 * n)
    first, middle, last = (math.log(gain) for gain in gains)
    return math.exp(ends * (first + last) + (1 - 2 * ends) * middle)


def _drift(rule: Law, gains: list[float], states: tuple[State, ...]) -> float:
    """Change of ln(gain), and of what else the rule watches."""
    values = [gains, *filter(None, [rule.watched(states)])]
    if not all(0 < value < math.inf for some in values for value in some):
        return math.inf
    return max(math.log(max(some) / min(some)) for some in values)


def _approximate_path(rule: Law, steps: int) -> np.ndarray:
    out = np.full(steps + 1, math.nan)
    out[0] = rule.init
    if not _in_range(rule):
        return out
    done, last = 0, None
    for block in _blocks(rule):
        count = min(block.length, steps - done)
        out[done + 1 : done + count + 1] = block.path.at(np.arange(1, count + 1))
        done, last = done + count, block
        if done == steps:
            return out
    if last is not None and _vanished(last, rule.init) and not rule.comes_back:
        out[done + 1 :] = 0.0
    return out


def _vanished(block: Block, init: float) -> bool:
    ends = (float(path.at(block.length)) for path in (block.path, block.momentum))
    return max(map(abs, ends)) < _GONE * abs(init)


def _first_in_blocks(rule: Law, first_in: Callable[[Block], float]) -> float:
    """First step of which `first_in` says which one of its block it is (inf: none); nan if the blocks end before."""
    done = 0
    for block in _blocks(rule):
        found = first_in(block)
        if math.isfinite(found):
            return done + found
        done += block.length
    return math.nan


# What is asked for


class _L2(NamedTuple):
    strength: float
    name: str = "l2"


def _case(
    optimizer: object, regularizer: Any, learning_rate: float, init: float, convention: str, given: dict[str, Any]
) -> Recursion | Law:
    """The closed form, or the rule to approximate."""
    rule, hyper = checked(optimizer, learning_rate, init, convention, given)
    name, strength = penalty(regularizer)
    learning_rate, init = float(learning_rate), float(init)
    if name != "l2":
        return geometric(init, strength * learning_rate if name == "wd-lr" else strength)
    law = rule.law
    require(law is not None, "optimizer", rule.name, f"one of {' '.join(OPTIMIZERS)} for coupled L2")
    assert law is not None
    if rule.adaptive and (strength == 0 or init == 0):
        return geometric(init, 0.0)
    return law(convention, learning_rate, strength, hyper, init)


def checked(
    optimizer: object, learning_rate: float, init: float, convention: str, given: dict[str, Any]
) -> tuple[Rule, dict[str, Any]]:
    """The rule and all its hyperparameters.

    Raises:
      InvalidInput: for what the rule does not have, and a learning rate or first weight that is none.
    """
    rule = resolve(optimizer)
    for name, value in given.items():
        fits = value is None or isinstance(value, bool) or is_number(value)
        require(fits, name, value, "a finite number")
    complete = rule.complete(convention, given).items()
    fits = is_number(learning_rate) and learning_rate > 0
    require(fits, "learning_rate", learning_rate, "a constant, finite and > 0")
    require(is_number(init), "init", init, "a finite number")
    return rule, {name: value if isinstance(value, bool) else float(value) for name, value in complete}


def penalty(regularizer: Any) -> tuple[str, float]:
    """The name and strength of a regularizer that theory knows.

    Raises:
      InvalidInput: for any other.
    """
    if regularizer is None:
        return "none", 0.0
    name, strength = getattr(regularizer, "name", None), getattr(regularizer, "strength", None)
    require(name in ("l2", "wd", "wd-lr"), "regularizer", regularizer, "None, or named one of l2 wd wd-lr")
    number = float(strength) if strength is not None and is_number(strength) else math.nan
    require(number >= 0, "strength", strength, "finite and >= 0")
    require(name != "wd" or number < 1, "strength", strength, "in [0, 1) for wd")
    return str(name), number


def _in_range(rule: Law) -> bool:
    if not all(_within(name, value) for name, value in rule.hyper.items() if name in RANGE):
        return False
    if rule.rate_has_no_unit:
        fits = _within("learning_rate of adadelta", rule.learning_rate)
    else:
        fits = _within("learning_rate / |init|", rule.learning_rate / abs(rule.init))
    return fits and _within("strength", rule.strength)


def _within(field: str, value: float) -> bool:
    """Whether a number is in its range, whose bounds may be missed by rounding."""
    low, high = RANGE[field]
    return low * (1 - 1e-9) <= value <= high * (1 + 1e-9)


def is_number(value: Any) -> bool:
    """Whether it is a finite number."""
    if isinstance(value, bool | str):
        return False
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError):
        return False
