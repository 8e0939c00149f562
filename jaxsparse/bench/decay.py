"""`jaxsparse bench decay`: the one-weight simulator, and `torch.optim.Adam` on the same weights beside it.

    curves     100 weights of different L2 strengths, 100,000 steps of Adam, every value kept
    million    1,000,000 weights of one strength, 1,000 steps of Adam, the last values kept; in a step, all weights
               have the same gradient (PyTorch: one tensor of gradients, kept for all steps)

Ours is timed from call to result, compiled before. PyTorch is the fastest of its `foreach` and `fused` forms, on one
thread and on all, and keeps no values. It takes a parameter group for each strength, which is what it costs; how long
100 weights of one strength in one tensor take it is told as well. PyTorch's steps all cost the same, so it is timed
over fewer and multiplied, as the names of the fields say.
"""

from __future__ import annotations

import contextlib
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxsparse import grid
from jaxsparse.bench import arguments
from jaxsparse.dynamics import simulate
from jaxsparse.regularizers import CoupledL2
from jaxsparse.rules.adam import adam

CURVES, CURVE_STEPS = 100, 100_000
MILLION, MILLION_STEPS = 1_000_000, 1_000
TORCH_STEPS = {"strengths": 100, "alike": 1000, "million": 20}
"""That PyTorch is timed over in each round."""
WAYS = tuple(itertools.product(("foreach", "fused"), sorted({1, grid.cores()})))
"""PyTorch's forms of the update, and numbers of threads."""
Times: TypeAlias = dict[tuple[str, tuple[str, int]], list[float]]
"""Seconds of a step in each round, by work and way."""


def _curves() -> Callable[[], object]:
    rng = np.random.default_rng(0)
    gradients = jnp.asarray(rng.normal(0, 1e-5, (CURVE_STEPS, CURVES)), jnp.float32)
    strengths = jnp.geomspace(1e-5, 1e-1, CURVES)

    def tx(strength: jax.Array) -> optax.GradientTransformation:
        return adam(1e-3, b2=0.99, regularizer=CoupledL2(strength))

    return lambda: simulate(tx, jnp.ones(CURVES), gradients, settings=strengths).block_until_ready()


def _million() -> Callable[[], object]:
    rng = np.random.default_rng(0)
    gradients = jnp.asarray(rng.normal(0, 1e-5, (MILLION_STEPS, 1)), jnp.float32)
    init = jnp.asarray(rng.uniform(0.5, 1.5, MILLION), jnp.float32)
    tx = adam(1e-3, b2=0.99, regularizer=CoupledL2(1e-4))
    end = (MILLION_STEPS,)
    return lambda: simulate(tx, init, gradients, at=end, devices=jax.devices()).block_until_ready()


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


@contextlib.contextmanager
def _torch() -> Iterator[Callable[[str, tuple[str, int]], float]]:
    """A PyTorch process; the function given measures the seconds of a step of a work done in one of the ways."""
    command = [sys.executable, "-m", "jaxsparse.bench.torch_decay"]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert worker.stdin is not None
    assert worker.stdout is not None
    questions, answers = worker.stdin, worker.stdout

    def measure(work: str, way: tuple[str, int]) -> float:
        form, threads = way
        questions.write(f"{work} {form} {threads} {TORCH_STEPS[work]}\n")
        questions.flush()
        return float(answers.readline())

    try:
        yield measure
    finally:
        worker.kill()
        worker.wait()


def _rivals(times: Times, curves: float, million: float) -> dict[str, object]:
    """PyTorch's figures: the better way of each work."""
    best = {work: min((statistics.median(times[work, way]), way) for way in WAYS) for work in TORCH_STEPS}
    strengths, alike = CURVE_STEPS * best["strengths"][0], CURVE_STEPS * best["alike"][0]
    measured = MILLION_STEPS * best["million"][0]
    return {
        f"torch_curves_seconds_from_{TORCH_STEPS['strengths']}_steps": strengths,
        f"torch_curves_of_one_strength_seconds_from_{TORCH_STEPS['alike']}_steps": alike,
        f"torch_million_seconds_from_{TORCH_STEPS['million']}_steps": measured,
        "torch_best": {work: f"{way[0]}, {way[1]} threads" for work, (_, way) in best.items()},
        "ratio_curves": strengths / curves,
        "ratio_curves_of_one_strength": alike / curves,
        "ratio_million": measured / million,
    }


def decay(rounds: int = 7, against: str | None = None) -> dict[str, object]:
    """Times both works; everything in turn, round after round, medians are given.

    Args:
      rounds: measurements.
      against: `"torch"` or nothing.

    Returns:
      `curves_seconds`, `million_seconds`, what a step of a weight takes in each (`.._ns_per_update`) and what compiling
      took; with `against`, PyTorch's seconds for the same, and ratios (PyTorch's time over ours).

    Raises:
      InvalidInput: naming the field and the allowed values.
    """
    arguments.check(rounds, against)
    grid.use_every_core()
    curves, million = _curves(), _million()
    compiling = _seconds(curves) + _seconds(million)
    ours: list[tuple[float, float]] = []
    theirs: Times = {(work, way): [] for work in TORCH_STEPS for way in WAYS}
    with _torch() if against else contextlib.nullcontext() as measure:
        for _ in range(rounds):
            ours.append((_seconds(curves), _seconds(million)))
            for (work, way), times in theirs.items():
                if measure is not None:
                    times.append(measure(work, way))
    curve_seconds, million_seconds = (statistics.median(times) for times in zip(*ours, strict=True))
    result: dict[str, object] = {
        "curves_seconds": curve_seconds,
        "curves_ns_per_update": 1e9 * curve_seconds / (CURVES * CURVE_STEPS),
        "million_seconds": million_seconds,
        "million_ns_per_update": 1e9 * million_seconds / (MILLION * MILLION_STEPS),
        "compile_and_first_run_seconds": compiling,
    }
    return result | (_rivals(theirs, curve_seconds, million_seconds) if against else {})
