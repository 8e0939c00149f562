"""Rules of today against their originals: optax's own functions and PyTorch's, over 1,000 steps in float64, alone and
under both forms of decay. A rule that is added needs a line in `ORIGINALS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib

import jaxsparse as js
from jaxsparse import regularizers, rules
from jaxsparse.trees import Tree

STEPS, STRENGTH, RATE = 1000, 0.01, 3e-3
DECAYS = ("none", "l2", "wd-lr")


class Original(NamedTuple):
    """The function of a learning rate whose steps a rule's are to be, and how it spells a decay of the strength."""

    make: Callable[..., optax.GradientTransformation]
    decay: tuple[str, ...] = ("weight_decay",)
    """its own arguments for decoupled decay; none: the decay is put after it"""
    fixed: Mapping[str, Any] = {}


def dimension_numbers(params: Tree) -> Tree:
    return jax.tree.map(lambda a: contrib.MuonDimensionNumbers((0, 1, 2), 3) if a.ndim == 4 else None, params)


ORIGINALS = {
    "adamw": Original(optax.adamw),
    "nadam": Original(optax.nadamw, fixed={"weight_decay": 0.0}),
    "radam": Original(optax.radam, ()),
    "lion": Original(optax.lion, fixed={"weight_decay": 0.0}),
    "muon": Original(
        contrib.muon,
        ("weight_decay", "adam_weight_decay"),
        {"muon_weight_dimension_numbers": dimension_numbers, "consistent_rms": 0.2},
    ),
    "ademamix": Original(contrib.ademamix),
    "adan": Original(optax.adan),
    "adafactor": Original(optax.adafactor, ()),
    "prodigy": Original(contrib.prodigy, ()),
    "schedule_free_adamw": Original(contrib.schedule_free_adamw),
    "schedule_free_sgd": Original(contrib.schedule_free_sgd),
}


def test_every_rule_has_an_original() -> None:
    assert set(ORIGINALS) == set(rules.NAMES) - set(rules.functions.__all__)


def weights_and_gradients() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A kernel of a convolution, and a scale with a unit that has no gradient in the second half."""
    rng = np.random.default_rng(0)
    shapes = {"kernel": (2, 2, 3, 4), "scale": (5,)}
    sizes = np.where(np.arange(STEPS) < STEPS // 2, 1, 0.01)
    weights = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    noise = {name: rng.normal(size=(STEPS, *shape)) for name, shape in shapes.items()}
    gradients = {name: g * sizes.reshape(-1, *[1] * (g.ndim - 1)) for name, g in noise.items()}
    gradients["scale"][STEPS // 2 :, 0] = 0
    return weights, gradients


def path(tx: optax.GradientTransformation, coupled: float = 0.0, decoupled: float = 0.0) -> Tree:
    """Weights after each step, of a rule that is fed with a penalty's gradient, or followed by decay."""
    weights, gradients = jax.tree.map(jnp.asarray, weights_and_gradients())

    def step(carry: Any, gradient: Any) -> Any:
        params, state = carry
        gradient = jax.tree.map(lambda g, w: g + coupled * w, gradient, params)
        updates, state = tx.update(gradient, state, params)
        updates = jax.tree.map(lambda u, w: u - RATE * decoupled * w, updates, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    return jax.jit(lambda: jax.lax.scan(step, (weights, tx.init(weights)), gradients)[1])()


def assert_close(got: Tree, want: Tree, tolerance: float = 1e-10) -> None:
    for name, theirs in want.items():
        assert np.isfinite(theirs).all()
        error = np.max(np.abs(np.asarray(got[name]) - np.asarray(theirs))) / np.max(np.abs(np.asarray(theirs)))
        assert error <= tolerance, (name, error)


@pytest.mark.parametrize("form", DECAYS)
@pytest.mark.parametrize("name", ORIGINALS)
def test_follows_optax(name: str, form: str) -> None:
    original = ORIGINALS[name]
    with jax.enable_x64(True):
        own = dict.fromkeys(original.decay, STRENGTH if form == "wd-lr" else 0.0)
        theirs = original.make(RATE, **{**original.fixed, **own})
        after = STRENGTH if form == "wd-lr" and not original.decay else 0.0
        want = path(theirs, STRENGTH if form == "l2" else 0.0, after)
        regularizer = regularizers.regularizer(form, STRENGTH)
        got = path(rules.RULES[name](RATE, regularizer=regularizer, convention="optax"))
        assert_close(got, want)


@pytest.mark.parametrize("form", DECAYS)
@pytest.mark.parametrize("name", ["NAdam", "RAdam"])
def test_follows_torch(name: str, form: str) -> None:
    torch = pytest.importorskip("torch")
    weights, gradients = weights_and_gradients()
    theirs = {key: torch.nn.Parameter(torch.tensor(value)) for key, value in weights.items()}
    decays = {"weight_decay": 0.0 if form == "none" else STRENGTH, "decoupled_weight_decay": form == "wd-lr"}
    tx = getattr(torch.optim, name)(theirs.values(), lr=RATE, **decays)
    want: dict[str, list[Any]] = {key: [] for key in theirs}
    for step in range(STEPS):
        for key, parameter in theirs.items():
            parameter.grad = torch.tensor(gradients[key][step])
        tx.step()
        for key, parameter in theirs.items():
            want[key].append(parameter.detach().numpy().copy())
    with jax.enable_x64(True):
        got = path(js.optimizer(name.lower(), RATE, regularizer=regularizers.regularizer(form, STRENGTH)))
    assert_close(got, {key: np.stack(values) for key, values in want.items()})
