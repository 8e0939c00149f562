"""The simulator: any elementwise optax transformation, on n weights that do not know of each other.

    simulate(tx, init, gradients)                 every weight after every step (or after some)
    outcome(tx, init, gradients, thresholds=..)   when each fell below the thresholds, and its range, in constant memory

Both take the gradients as an array, or as a function of a random key and the step, so that long runs of many weights
need no room for them. A sweep gives `tx` as a function of `settings`, which hold a number per weight:

    tx = lambda s: js.adam(s["rate"], regularizer=js.CoupledL2(s["strength"]))
    xs = js.simulate(tx, init, gradients, settings={"rate": rates, "strength": strengths})        # each [n]

Rules that look at a whole array, such as Adafactor, go into `alone` first. Each weight is the scale of a normalisation
layer to the regularizers, so `BatchNormL1` acts on it as well.

Tails: XLA takes denormals for zero, so squares of gradients below 1e-154 (float32: 1e-19) are lost. A weight without a
gradient of the loss that falls so far sticks near 1e-304, although Adam with b2 0.999 would throw it back from 1e-402.

Speed, on a CPU: a step over millions of weights waits for the memory. So they are cut into chunks that stay in the
cache for all their steps, one chunk after another, side by side on `devices`. The chunks' edges are nothing that a
result could show: the last chunk overlaps the one before it, and every weight is taken from one of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jax.typing import ArrayLike

from jaxsparse.checks import require
from jaxsparse.rules.averaging import evaluated

CHUNK = 16384
"""Weights in a chunk on a CPU: with two moments and the gradient, 256 KiB of float32."""

GradientFunction: TypeAlias = Callable[[jax.Array, jax.Array], jax.Array]
"""From a random key of the step's own and the step's number (0 in the first) to the gradients `[n]`."""

Rule: TypeAlias = optax.GradientTransformation | Callable[[Any], optax.GradientTransformation]
"""An update rule, or a function from settings to one."""

Carry: TypeAlias = tuple[jax.Array, optax.OptState]
Advance: TypeAlias = Callable[[Carry, jax.Array], Carry]
"""Takes a step of the given number."""


def _seen(carry: Carry) -> jax.Array:
    """The weights that a network would be evaluated with."""
    weights, state = carry
    return evaluated(state, {"scale": weights})["scale"]


class Outcome(NamedTuple):
    """What became of n weights over a run that is told in parts, in memory that does not grow with the steps.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> tx = js.adam(1e-2, b2=0.99, regularizer=js.CoupledL2(1e-3))
      >>> found = js.dynamics.outcome(tx, jnp.ones(1), jnp.zeros((1000, 1)), parts=4)
      >>> found.last.shape, int(found.first_below[0, 0]), bool(found.level[0] < 1e-3)
      ((4, 1), 213, True)
    """

    first_below: jax.Array
    """`[thresholds, n]`: steps until `|weight| < threshold` for the first time; 0 at the start, -1 if never"""
    last: jax.Array
    """`[parts, n]`: the weights after the last step of each part"""
    low: jax.Array
    """`[parts, n]`: the smallest values that they had after the steps of each part"""
    high: jax.Array
    """`[parts, n]`: the largest values likewise"""

    @property
    def final(self) -> jax.Array:
        """`[n]`: the weights after the last step."""
        return self.last[-1]

    @property
    def level(self) -> jax.Array:
        """`[n]`: the largest magnitude in the last part."""
        return jnp.maximum(jnp.abs(self.low[-1]), jnp.abs(self.high[-1]))

    @property
    def amplitude(self) -> jax.Array:
        """`[n]`: half of the range in the last part."""
        return (self.high[-1] - self.low[-1]) / 2

    @property
    def oscillates(self) -> jax.Array:
        """`[n]`: whether the sign changes in the last part, with at least half of the range of the part before.

        The latter leaves out a damped oscillation, and one of a weight that is still on its way to zero.
        """
        crosses = (self.low[-1] < 0) & (self.high[-1] > 0)
        ranges = self.high - self.low
        return crosses & (ranges[-1] >= ranges[max(-2, -len(ranges))] / 2)

    def joined(self, begins: np.ndarray) -> Outcome:
        """The same in fewer parts, each of several that were next to each other; `begins`: the first of each."""
        ends = np.append(begins[1:], len(self.last)) - 1
        part = np.searchsorted(ends, np.arange(len(self.last)))
        low = jax.ops.segment_min(self.low, part, len(begins))
        high = jax.ops.segment_max(self.high, part, len(begins))
        return Outcome(self.first_below, self.last[ends], low, high)


@dataclass(frozen=True)
class _Path:
    """Observes the weights after chosen steps: `[marks, n]`."""

    consecutive: bool

    def __call__(self, advance: Advance, carry: Carry, marks: jax.Array) -> jax.Array:
        def one(carry: Carry, step: jax.Array) -> tuple[Carry, jax.Array]:
            carry = advance(carry, step)
            return carry, _seen(carry)

        def several(carry: Carry, mark: tuple[jax.Array, jax.Array]) -> tuple[Carry, jax.Array]:
            carry = lax.fori_loop(*mark, lambda step, carry: advance(carry, step), carry)
            return carry, _seen(carry)

        if self.consecutive:  # a loop less: twice as fast for few weights
            begin = carry[0]
            _, path = lax.scan(one, carry, marks[:-1])
            return jnp.concatenate([begin[None], path])
        return lax.scan(several, carry, (jnp.concatenate([jnp.zeros_like(marks[:1]), marks[:-1]]), marks))[1]


@dataclass(frozen=True)
class _Outcome:
    """Observes an `Outcome`; the marks are the ends of the parts, after a 0."""

    thresholds: tuple[float, ...]

    def __call__(self, advance: Advance, carry: Carry, marks: jax.Array) -> Outcome:
        bounds = jnp.asarray(self.thresholds, carry[0].dtype)[:, None]

        def fallen(first: jax.Array, weights: jax.Array, steps: jax.Array | int) -> jax.Array:
            return jnp.where((first < 0) & (jnp.abs(weights)[None] < bounds), steps, first)

        def step(step: jax.Array, seen: tuple[Carry, jax.Array, jax.Array, jax.Array]) -> Any:
            carry, first, low, high = seen
            carry = advance(carry, step)
            weights = _seen(carry)
            return carry, fallen(first, weights, step + 1), jnp.minimum(low, weights), jnp.maximum(high, weights)

        def part(carry: tuple[Carry, jax.Array], mark: tuple[jax.Array, jax.Array]) -> Any:
            nothing = jnp.full_like(carry[0][0], jnp.inf)
            inner, first, low, high = lax.fori_loop(*mark, step, (*carry, nothing, -nothing))
            return (inner, first), (_seen(inner), low, high)

        never = jnp.full((len(self.thresholds), carry[0].size), -1, jnp.int32)
        begun = carry, fallen(never, carry[0], 0)
        (_, first), (last, low, high) = lax.scan(part, begun, (marks[:-1], marks[1:]))
        return Outcome(first, last, low, high)


Observer: TypeAlias = _Path | _Outcome


def simulate(
    tx: Rule,
    init: ArrayLike,
    gradients: ArrayLike | GradientFunction,
    *,
    settings: Any = None,
    steps: int | None = None,
    key: jax.Array | None = None,
    every: int = 1,
    at: Sequence[int] | np.ndarray | None = None,
    chunk: int | None = None,
    devices: Sequence[Any] | None = None,
) -> jax.Array:
    """Follows n weights under an update rule.

    Args:
      tx: an optax transformation that acts on each number by itself, or a function from `settings` to one.
      init: `[n]`, the weights at the start; float32 or float64 (if the caller has enabled it), as is all that follows.
      gradients: of the loss, without the regularizer's: `[steps, n]`; `[steps, 1]`, for all weights the same; or a
        function from a random key and the step's number to `[n]`, each step with a key of its own.
      settings: for a function `tx`: a pytree of arrays `[n]`, or `[1]` where all weights share the number.
      steps: how many, for a function of gradients.
      key: of `jax.random`, for a function of gradients.
      every: keep the weights after every so many steps only; what comes after the last of these is not run.
      at: instead of `every`, the rising numbers of steps after which the weights are kept (0: at the start).
      chunk: weights that are worked on together [16384 on a CPU, else all]; with a function of gradients always all.
      devices: of JAX, on which chunks are worked on side by side [the default device].

    Returns:
      `[steps + 1, n]`, the first row being `init`; with `every`, `[steps // every + 1, n]`; with `at`, `[len(at), n]`.

    Raises:
      InvalidInput: naming the argument and what is allowed.

    A call compiles unless it repeats one with the same `tx` and function of gradients, and arrays of the same shapes.

    Example:
      Steps until a weight without a loss gradient counts as dead, for three strengths side by side:

      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> tx = lambda s: js.adam(1e-3, b2=0.99, regularizer=js.CoupledL2(s["strength"]))
      >>> strengths = jnp.array([1e-5, 1e-4, 1e-3])
      >>> w = js.simulate(tx, jnp.ones(3), jnp.zeros((2000, 3)), settings={"strength": strengths})
      >>> w.shape, (abs(w) < 1e-3).argmax(0).tolist()
      ((2001, 3), [1397, 1393, 1393])
    """
    init, gradients, steps = _checked(init, gradients, steps, key, settings)
    require(isinstance(every, int) and every >= 1, "every", every, "a whole number >= 1")
    marks = _rising("at", np.arange(0, steps + 1, every) if at is None else at, 0, steps)
    consecutive = bool(marks[0] == 0) and len(marks) == marks[-1] + 1
    return _run(tx, _Path(consecutive), init, gradients, settings, key, marks, chunk, devices)


def outcome(
    tx: Rule,
    init: ArrayLike,
    gradients: ArrayLike | GradientFunction,
    *,
    settings: Any = None,
    steps: int | None = None,
    key: jax.Array | None = None,
    thresholds: Sequence[float] = (1e-3,),
    parts: int | Sequence[int] | np.ndarray = 10,
    chunk: int | None = None,
    devices: Sequence[Any] | None = None,
) -> Outcome:
    """What becomes of n weights under an update rule, in memory that does not grow with the steps.

    Args:
      tx, init, gradients, settings, steps, key, chunk, devices: as in `simulate`.
      thresholds: for each, the first step after which `|weight|` is below it is told.
      parts: of the run, for each of which the last, smallest and largest value is told: how many equal ones, or the
        rising numbers of steps after which they end.

    Raises:
      InvalidInput: naming the argument and what is allowed.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> tx = js.sgd(0.1, momentum=0.9, regularizer=js.CoupledL2(1e-3))
      >>> found = js.dynamics.outcome(tx, jnp.ones(1), jnp.zeros((10_000, 1)), thresholds=(1e-1, 1e-3))
      >>> found.first_below[:, 0].tolist()
      [2290, 6851]
    """
    init, gradients, steps = _checked(init, gradients, steps, key, settings)
    for threshold in thresholds:
        require(math.isfinite(threshold) and threshold > 0, "thresholds", threshold, "finite numbers > 0")
    if isinstance(parts, int):
        require(1 <= parts <= steps, "parts", parts, f"a whole number from 1 to {steps} (steps)")
        parts = np.arange(1, parts + 1) * steps // parts
    ends = _rising("parts", parts, 1, steps)
    marks = np.concatenate([np.zeros(1, ends.dtype), ends])
    return _run(tx, _Outcome(tuple(thresholds)), init, gradients, settings, key, marks, chunk, devices)


def alone(tx: Callable[[Any], optax.GradientTransformation]) -> Callable[[Any], optax.GradientTransformation]:
    """A function from settings to a rule, for rules that look at a whole array: each weight is an array of its own.

    Example:
      Adafactor divides by the root mean square of an array. Each weight by its own, both move alike.

      >>> import jax.numpy as jnp
      >>> import optax
      >>> import jaxsparse as js
      >>> tx = js.dynamics.alone(lambda s: optax.adafactor(1e-2))
      >>> w = js.simulate(tx, jnp.ones(2), jnp.array([[1.0, 1e-3]]), settings=jnp.zeros(2))
      >>> [f"{weight:.3f}" for weight in w[1]]
      ['0.990', '0.990']
    """

    def of(settings: Any) -> optax.GradientTransformation:
        def several(w: jax.Array) -> Any:
            return jax.tree.map(lambda value: jnp.broadcast_to(value, w.shape), settings)

        def init(params: Any) -> Any:
            return jax.vmap(lambda own, w: tx(own).init(w))(several(params["scale"]), params)

        def update(updates: Any, state: Any, params: Any = None) -> Any:
            each = jax.vmap(lambda own, g, s, w: tx(own).update(g, s, w))
            return each(several(params["scale"]), updates, state, params)

        return optax.GradientTransformation(init, update)

    return of


def _rising(name: str, values: Sequence[int] | np.ndarray, low: int, high: int) -> np.ndarray:
    """Numbers of steps as an array, checked."""
    array = np.asarray(values)
    whole = array.ndim == 1 and array.size > 0 and array.dtype.kind in "iu"
    fine = whole and bool(np.all(np.diff(array) > 0)) and low <= array[0] and array[-1] <= high
    require(fine, name, values, f"rising whole numbers from {low} to {high} (steps)")
    return array


def _checked(
    init: ArrayLike, gradients: ArrayLike | GradientFunction, steps: int | None, key: jax.Array | None, settings: Any
) -> tuple[jax.Array, jax.Array | GradientFunction, int]:
    """Weights and gradients as arrays, and the number of steps."""
    init = jnp.asarray(init)
    floats = init.ndim == 1 and init.size > 0 and jnp.issubdtype(init.dtype, jnp.floating)
    require(floats, "init", f"{init.dtype}{list(init.shape)}", "floating-point numbers [n]")
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(settings)]
    require(set(shapes) <= {init.shape, (1,)}, "settings", shapes, f"arrays [{init.size}] or [1]")
    if callable(gradients):
        require(
            isinstance(steps, int) and steps >= 1, "steps", steps, "a whole number >= 1 for a function of gradients"
        )
        require(key is not None, "key", key, "given for a function of gradients")
        assert steps is not None
        return init, gradients, steps
    gradients = jnp.asarray(gradients)
    matches = gradients.ndim == 2 and gradients.shape[1] in (1, init.size)
    require(matches, "gradients", f"of shape {gradients.shape}", f"[steps, {init.size}], [steps, 1] or a function")
    length = gradients.shape[0]
    require(steps in (None, length), "steps", steps, f"{length}, as many as gradients, or left out")
    return init, gradients, length


def _holds_arrays(tx: Rule, size: int, dtype: Any) -> bool:
    """Whether a rule has a number per weight inside, so that it does not act on fewer weights."""
    weights = {"scale": jax.ShapeDtypeStruct((size,), dtype)}
    try:
        jax.eval_shape(lambda w: tx.update(w, tx.init(w), w), weights)  # pyright: ignore[reportAttributeAccessIssue]
    except (TypeError, ValueError):
        return True
    return False


def _run(
    tx: Rule,
    observer: Observer,
    init: jax.Array,
    gradients: jax.Array | GradientFunction,
    settings: Any,
    key: jax.Array | None,
    marks: np.ndarray,
    chunk: int | None,
    devices: Sequence[Any] | None,
) -> Any:
    """Cuts the weights into chunks where that pays, and puts what was observed of them together again."""
    n = init.size
    require(chunk is None or chunk >= 1, "chunk", chunk, "a whole number >= 1")
    size = min(n, chunk or (CHUNK if jax.default_backend() == "cpu" else n))
    draw, table = (gradients, None) if callable(gradients) else (None, gradients)
    whole = size == n or draw is not None
    if whole or (isinstance(tx, optax.GradientTransformation) and _holds_arrays(tx, size, init.dtype)):
        size, devices = n, None
    places = len(devices) if devices else 1
    count = math.ceil(n / size / places) * places
    size = math.ceil(n / count)
    starts = np.minimum(np.arange(count) * size, n - size)
    mesh = Mesh(np.asarray(devices), "chunks") if devices and count > 1 else None
    found = _compiled(tx, observer, draw, size, mesh, starts, init, table, settings, key, marks.astype(np.int32))
    if count == 1:
        return jax.tree.map(lambda x: x[0], found)
    if mesh is not None:
        found = jax.device_put(found, mesh.devices.flat[0])
    return jax.tree.map(partial(_joined, n=n), found)


@partial(jax.jit, static_argnames="n")
def _joined(chunks: jax.Array, n: int) -> jax.Array:
    """`[chunks, .., size]`, the last ones overlapping, as `[.., n]`."""
    count, size = chunks.shape[0], chunks.shape[-1]
    weight = np.arange(n)
    number = np.minimum(weight // size, count - 1)
    place = number * size + weight - np.minimum(number * size, n - size)
    flat = jnp.moveaxis(chunks, 0, -2).reshape(*chunks.shape[1:-1], count * size)
    return flat if count * size == n else jnp.take(flat, place, axis=-1)


@partial(jax.jit, static_argnames=("tx", "observer", "draw", "size", "mesh"))
def _compiled(
    tx: Rule,
    observer: Observer,
    draw: GradientFunction | None,
    size: int,
    mesh: Mesh | None,
    starts: jax.Array,
    *arrays: Any,
) -> Any:
    """What was observed of each chunk, `[chunks, .., size]`."""

    def some(starts: jax.Array, *arrays: Any) -> Any:
        return lax.map(lambda start: _observe(tx, observer, draw, size, start, *arrays), starts)

    if mesh is not None:
        share, common = PartitionSpec("chunks"), PartitionSpec()
        some = jax.shard_map(
            some, mesh=mesh, in_specs=(share, *(common for _ in arrays)), out_specs=share, check_vma=False
        )
    return some(starts, *arrays)


def _observe(
    tx: Rule,
    observer: Observer,
    draw: GradientFunction | None,
    size: int,
    start: jax.Array,
    init: jax.Array,
    table: jax.Array | None,
    settings: Any,
    key: jax.Array | None,
    marks: jax.Array,
) -> Any:
    """What an observer sees of the weights from `start` on, `size` of them."""

    def cut(values: jax.Array) -> jax.Array:
        return values if values.shape[-1] != init.size else lax.dynamic_slice_in_dim(values, start, size, -1)

    def gradient(step: jax.Array) -> jax.Array:
        if draw is not None:
            assert key is not None
            found = draw(jax.random.fold_in(key, step), step)
            require(found.shape == init.shape, "gradients", f"of shape {found.shape}", f"[{init.size}] in each step")
        else:
            assert table is not None
            shared = table.shape[1] != init.size
            place = (step, jnp.zeros_like(step) if shared else start.astype(step.dtype))
            found = lax.dynamic_slice(table, place, (1, 1 if shared else size))[0]
        return jnp.broadcast_to(found.astype(init.dtype), (size,))

    rule = tx if isinstance(tx, optax.GradientTransformation) else tx(jax.tree.map(cut, settings))
    weights = cut(init)

    def advance(carry: Carry, step: jax.Array) -> Carry:
        weights, state = carry
        updates, state = rule.update({"scale": gradient(step)}, state, {"scale": weights})
        return optax.apply_updates(weights, updates["scale"]), state  # pyright: ignore

    return observer(advance, (weights, rule.init({"scale": weights})), marks)
