"""Schedules: the reference papers' own, against their description, and what may be traced."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxsparse.schedules import cosine_restarts, evenly, step_decay


def test_step_decay_of_the_papers() -> None:
    mehta = step_decay(1e-3, (250, 325), 0.1, steps_per_epoch=1250)
    steps = [0, 250 * 1250 - 1, 250 * 1250, 325 * 1250 - 1, 325 * 1250]
    np.testing.assert_allclose([mehta(step) for step in steps], [1e-3, 1e-3, 1e-4, 1e-4, 1e-5], rtol=1e-6)
    yaguchi = step_decay(1e-3, evenly(3, 100), 0.5)
    want = [1e-3 * 0.5 ** (epoch // 25) for epoch in range(100)]
    np.testing.assert_allclose([yaguchi(epoch) for epoch in range(100)], want, rtol=1e-6)


def test_is_optax_piecewise_constant() -> None:
    counts = jnp.arange(20)
    theirs = optax.piecewise_constant_schedule(0.1, {3: 0.5, 11: 0.5})
    np.testing.assert_allclose(step_decay(0.1, (3, 11), 0.5)(counts), theirs(counts), rtol=1e-6)


def test_no_boundaries_is_constant() -> None:
    assert float(jnp.asarray(step_decay(0.1, (), 0.5)(7))) == pytest.approx(0.1)


def test_cosine_restarts() -> None:
    schedule = cosine_restarts(0.1, 40, steps_per_epoch=2)
    want = [0.05 * (1 + np.cos(np.pi * (step % 80) / 80)) for step in range(240)]
    np.testing.assert_allclose([schedule(step) for step in range(240)], want, rtol=1e-4, atol=1e-8)


def test_numbers_may_be_traced() -> None:
    compiled = 0

    @jax.jit
    def rates(learning_rate: Any, factor: Any, count: Any) -> Any:
        nonlocal compiled
        compiled += 1
        return step_decay(learning_rate, (5,), factor)(count), cosine_restarts(learning_rate, 10)(count)

    for learning_rate, factor, count in [(0.1, 0.5, 4), (0.2, 0.25, 5)]:
        stepped, cosine = rates(learning_rate, factor, count)
        assert float(stepped) == pytest.approx(learning_rate * (factor if count >= 5 else 1))
        assert float(cosine) == pytest.approx(learning_rate / 2 * (1 + np.cos(np.pi * count / 10)), rel=1e-5)
    assert compiled == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: step_decay(0.1, (5, 3), 0.5), r"boundaries must be rising and > 0, got \(5, 3\)"),
        (lambda: step_decay(0.1, (0, 3), 0.5), r"boundaries must be rising and > 0, got \(0, 3\)"),
        (lambda: step_decay(0.1, (5,), 0.0), "factor must be finite and > 0, got 0.0"),
        (lambda: step_decay(0.1, (5,), 0.5, 0), "steps_per_epoch must be >= 1, got 0"),
        (lambda: evenly(-1, 100), "times must be >= 0, got -1"),
        (lambda: evenly(3, 0), "total must be finite and > 0, got 0"),
        (lambda: cosine_restarts(0.1, 0), "period must be finite and > 0, got 0"),
        (lambda: cosine_restarts(0.1, 40, 0), "steps_per_epoch must be >= 1, got 0"),
    ],
)
def test_says_what_is_wrong(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        make()
