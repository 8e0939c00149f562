"""Simulates a plan: the curve of every weight, and what became of it."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa

from jaxsparse.decay.plan import Plan
from jaxsparse.dynamics import outcome, protocols

THRESHOLDS = (1e-1, 1e-3, 1e-6, 1e-12)
"""Magnitudes below which the first step is told."""
COLUMNS = ("optimizer", "regularizer", "strength", "convention", "seed", "step", "value")
"""Of the curves."""


class Found(NamedTuple):
    """What came out, as Arrow tables; the strength of the regularizer `none` is 0."""

    curves: pa.Table
    """the columns `COLUMNS`: the weight at `marks` of every curve"""
    outcomes: pa.Table
    """a row per curve: its rule, `steps_to_THRESHOLD` (null if never), `final`, `level`, `amplitude`, `oscillates`"""


def marks(steps: int) -> np.ndarray:
    """The steps that are kept: all up to 5000, else about 1000 that look dense on a linear and a logarithmic axis."""
    if steps <= 5000:
        return np.arange(steps + 1)
    return np.unique(np.round(np.concatenate([np.linspace(0, steps, 501), np.geomspace(1, steps, 600)])).astype(int))


def _simulated(plan: Plan, optimizer: str, regularizer: str) -> Found:
    """Every curve of an optimizer with a regularizer, of a complete plan; strengths and seeds are one array `[n]`."""
    assert plan.steps is not None
    assert plan.seeds is not None
    strengths = [0.0] if regularizer == "none" else list(plan.strengths)
    strength, seed = np.repeat(strengths, plan.seeds), np.tile(np.arange(plan.seeds), len(strengths))
    draw, kept = protocols.protocol(plan.protocol).gradients(plan.seeds), marks(plan.steps)
    with jax.enable_x64(True):  # in this thread
        weights: dict[str, Any] = {
            "tx": plan.rules_of(optimizer, regularizer),
            "init": np.full(len(seed), plan.init, float),
            "gradients": lambda key, step: draw(key, step)[seed],  # the same for every optimizer and strength
            "settings": (jnp.asarray(strength, float),),
            "steps": plan.steps,
            "key": jax.random.key(0),
        }
        found = outcome(**weights, thresholds=THRESHOLDS, parts=kept[1:])
        tenths = found.joined(np.unique(np.searchsorted(kept[1:], np.arange(10) * plan.steps / 10, "right")))
        columns = {name: np.asarray(getattr(tenths, name)) for name in ("final", "level", "amplitude", "oscillates")}
        path, first_below = np.concatenate([weights["init"][None], found.last]), np.asarray(found.first_below)

    def table(repeats: int, columns: dict[str, Any]) -> pa.Table:
        names = {"optimizer": optimizer, "regularizer": regularizer, "convention": plan.convention}
        constant = {name: [value] * (repeats * len(seed)) for name, value in names.items()}
        numbers = {"strength": np.repeat(strength, repeats), "seed": np.repeat(seed, repeats)}
        return pa.table({**constant, **numbers, **columns})

    times = {
        f"steps_to_{threshold:g}": pa.array(first, mask=first < 0)
        for threshold, first in zip(THRESHOLDS, first_below, strict=True)
    }
    curves = table(len(kept), {"step": np.tile(kept, len(seed)), "value": path.T.reshape(-1)})
    rule = {
        "learning_rate": [plan.learning_rate_of(optimizer)] * len(seed),
        "constants": pa.array([plan.constants_of(optimizer)] * len(seed), pa.map_(pa.string(), pa.float64())),
    }
    return Found(curves.select(COLUMNS), table(1, {**rule, **times, **columns}))


def follow(*plans: Plan) -> Found:
    """Simulates plans one after another; two optimizers at a time, as compiling takes most of the time."""
    cases = [
        (plan, optimizer, regularizer)
        for plan in (plan.complete() for plan in plans)
        for optimizer, regularizer in itertools.product(plan.optimizers, plan.regularizers)
    ]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda case: _simulated(*case), cases))
    return Found(pa.concat_tables([one.curves for one in found]), pa.concat_tables([one.outcomes for one in found]))
