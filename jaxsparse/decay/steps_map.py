"""How many steps a weight takes from 1 to 1e-12, over strengths and learning rates: simulated, and as theory has it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa

from jaxsparse import theory
from jaxsparse.decay.plan import STEPS, Plan
from jaxsparse.dynamics import outcome, protocols
from jaxsparse.regularizers import CoupledL2
from jaxsparse.rules import resolve

THRESHOLD = 1e-12
STRENGTHS = np.logspace(-6, 0, 25)
LEARNING_RATES = np.logspace(-4, 0, 25)

PLAN = Plan(regularizers=("l2",), protocol="zero-gradient", init=1.0, steps=STEPS)
"""Its convention and constants."""


def _simulated(optimizer: str, strength: np.ndarray, learning_rate: np.ndarray) -> np.ndarray:
    """Steps `[n]`, -1 where the weight did not get there."""
    with jax.enable_x64(True):  # in this thread
        found = outcome(
            PLAN.rules_of(optimizer, "l2"),
            np.ones(strength.size),
            protocols.ZeroGradient().gradients(strength.size),
            settings=(jnp.asarray(strength), jnp.asarray(learning_rate)),
            steps=PLAN.steps,
            key=jax.random.key(0),
            thresholds=(THRESHOLD,),
            parts=1,
        )
        return np.asarray(found.first_below[0])


def _predicted(optimizer: str, strength: float, learning_rate: float) -> float:
    """Steps, inf where the weight never gets there, nan where theory does not know."""
    if resolve(optimizer).law is None:
        return math.nan
    rule = {"learning_rate": learning_rate, "convention": PLAN.convention, **PLAN.constants_of(optimizer)}
    return theory.steps_to(THRESHOLD, optimizer, CoupledL2(strength), init=1.0, **dict[str, Any](rule))


def _map_of(optimizer: str) -> pa.Table:
    axes = np.meshgrid(STRENGTHS, LEARNING_RATES, indexing="ij")
    strength, learning_rate = (axis.reshape(-1) for axis in axes)
    steps = _simulated(optimizer, strength, learning_rate)
    powers = np.log10([strength, learning_rate])
    asked = np.all(np.isclose(powers, np.round(powers)), axis=0) | (not resolve(optimizer).adaptive)
    predicted = np.zeros(asked.size)
    for place in np.flatnonzero(asked):
        predicted[place] = _predicted(optimizer, float(strength[place]), float(learning_rate[place]))
    return pa.table(
        {
            "optimizer": [optimizer] * asked.size,
            "strength": strength,
            "learning_rate": learning_rate,
            "steps": [PLAN.steps] * asked.size,
            f"steps_to_{THRESHOLD:g}": pa.array(steps, mask=steps < 0),
            "theory": pa.array(predicted, mask=~asked),
        }
    )


def steps_map(optimizers: Sequence[str]) -> pa.Table:
    """A row per optimizer, strength and learning rate, under L2 and no gradient of the loss, papers' constants.

    Columns: `optimizer strength learning_rate steps steps_to_1e-12 theory`. Of the `steps` that were simulated, those
    until the weight was there, null where it never was. `theory.steps_to` is smooth but slow, so it is asked at powers
    of ten only, but for SGD, where it is exact and quick: null elsewhere, inf or nan where that is its answer.
    """
    with ThreadPoolExecutor(2) as pool:  # one compiles while the other asks theory
        return pa.concat_tables(pool.map(_map_of, optimizers))
