"""Lines of other libraries, and what their decay means, against loops in float64."""

import math

import numpy as np
import pytest

import jaxsparse as js
from jaxsparse.checks import InvalidInput
from jaxsparse.explanation import Explanation, explain

COUPLED = js.CoupledL2


def decoupled(strength: float) -> js.DecoupledDecay:
    return js.DecoupledDecay(strength, scale="learning_rate")


@pytest.mark.parametrize(
    ("line", "rule", "rate", "hyper", "regularizer"),
    [
        ("torch.optim.Adam(net.parameters(), weight_decay=1e-4)", "torch adam", 1e-3, {}, COUPLED(1e-4)),
        (
            "torch.optim.Adam(p, 3e-4, betas=(0.8, 0.95), eps=1e-6)",
            "torch adam",
            3e-4,
            {"b1": 0.8, "b2": 0.95, "eps": 1e-6},
            None,
        ),
        ("torch.optim.Adam(p, amsgrad=True, weight_decay=1e-2)", "torch amsgrad", 1e-3, {}, COUPLED(1e-2)),
        (
            "torch.optim.Adam(p, weight_decay=0.1, decoupled_weight_decay=True)",
            "torch adam",
            1e-3,
            {},
            decoupled(0.1),
        ),
        ("opt = torch.optim.AdamW(p)", "torch adam", 1e-3, {}, decoupled(1e-2)),
        (
            "torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=5e-4)",
            "torch sgd",
            0.1,
            {"momentum": 0.9},
            COUPLED(5e-4),
        ),
        ("torch.optim.RMSprop(p, alpha=0.9, weight_decay=1e-2)", "torch rmsprop", 1e-2, {"decay": 0.9}, COUPLED(1e-2)),
        ("torch.optim.Adadelta(p)", "torch adadelta", 1.0, {}, None),
        ("keras.optimizers.AdamW()", "keras adam", 1e-3, {}, decoupled(4e-3)),
        ("keras.optimizers.Adam(beta_1=0.8, weight_decay=1e-2)", "keras adam", 1e-3, {"b1": 0.8}, decoupled(1e-2)),
        ("tf.keras.optimizers.RMSprop(rho=0.8, weight_decay=None)", "keras rmsprop", 1e-3, {"decay": 0.8}, None),
        ("optax.adamw(1e-3)", "optax adam", 1e-3, {}, decoupled(1e-4)),
        ("optax.adamaxw(learning_rate=1e-2, weight_decay=0.1)", "optax adamax", 1e-2, {}, decoupled(0.1)),
        ("torch.optim.NAdam(p, weight_decay=1e-2)", "torch nadam", 2e-3, {}, COUPLED(1e-2)),
        (
            "torch.optim.RAdam(p, weight_decay=0.1, decoupled_weight_decay=True)",
            "torch radam",
            1e-3,
            {},
            decoupled(0.1),
        ),
        ("optax.lion(1e-4)", "optax lion", 1e-4, {}, decoupled(1e-3)),
        ("keras.optimizers.Lion(1e-4, beta_2=0.95)", "keras lion", 1e-4, {"b2": 0.95}, None),
        ("optax.contrib.ademamix(1e-3, alpha=8.0)", "optax ademamix", 1e-3, {"alpha": 8.0}, None),
        ("optax.nadamw(1e-3)", "optax nadam", 1e-3, {}, decoupled(1e-4)),
        ("optax.sgd(0.1, nesterov=True, momentum=0.5)", "optax sgd", 0.1, {"nesterov": True, "momentum": 0.5}, None),
    ],
)
def test_what_a_line_means(line: str, rule: str, rate: float, hyper: dict[str, float], regularizer: object) -> None:
    found = explain(line)
    assert (f"{found.convention} {found.optimizer}", found.learning_rate) == (rule, rate)
    assert (found.hyper, found.regularizer) == (hyper, regularizer)
    assert eval(found.ours, {"js": js})  # it can be given as it stands
    assert found.ours in str(found)


def test_how_long_a_weight_lives() -> None:
    """By the rules themselves, with a gradient of zero."""
    decay = explain("torch.optim.AdamW(p, lr=0.1, weight_decay=0.5)")
    assert decay.steps == math.floor(math.log(1e-3) / math.log1p(-0.05)) + 1
    penalty = explain("torch.optim.Adam(p, lr=1e-2, weight_decay=1e-1)")
    w, m, v, step = 1.0, 0.0, 0.0, 0
    while abs(w) >= 1e-3:
        step += 1
        g = 0.1 * w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w -= 1e-2 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    assert penalty.steps == step
    assert explain("optax.adam(1e-3)").steps == math.inf
    assert "for ever" in str(explain("optax.adam(1e-3)"))


def test_a_life_without_a_formula_is_said() -> None:
    assert math.isnan(explain("torch.optim.NAdam(p, weight_decay=1e-2)").steps)
    assert math.isinf(explain("torch.optim.NAdam(p)").steps)
    assert "`js.simulate`" in str(Explanation("torch", "adam", 1e-3, {}, COUPLED(1.0), math.nan))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("adam", "line must be one call"),
        ("import os", "line must be one call"),
        ("f(", "line must be one call"),
        ("Adam(1e-3)", "line must be a call of torch.optim, keras.optimizers or optax"),
        ("optax.yogi(1e-3)", "line must be one of sgd adam .* ademamix adamw adamaxw nadamw, got 'yogi'"),
        ("torch.optim.Lion(p)", "line must be one of sgd adam .* radam adamw"),
        ("optax.lion(b4=1.0, learning_rate=1e-4)", "argument must be for lion: .*, got 'b4'"),
        ("torch.optim.Adam(p, lr=rate)", "lr must be a number that stands in the line, got 'rate'"),
        ("torch.optim.Adam(p, lr='a')", "lr must be a number, got 'a'"),
        ("torch.optim.Adam(p, betas=0.9)", "betas must be two numbers"),
        ("torch.optim.Adam(p, 1e-3, (0.9, 0.9))", "line must be with names for all arguments but params lr"),
        ("torch.optim.Adam(p, momentum=0.9)", "argument must be for Adam: .*, got 'momentum'"),
        ("torch.optim.Adam(p, **more)", r"\*\* must be a number that stands in the line"),
        ("torch.optim.SGD(p, amsgrad=True)", "amsgrad must be left out for SGD"),
        ("optax.adam(1e-3, weight_decay=1e-4)", "weight_decay must be left out for adam"),
        ("optax.adam()", "learning_rate must be given: optax.adam has no default"),
        ("torch.optim.Adam(p, lr=-1.0)", "learning_rate must be"),
        ("torch.optim.Adam(p, betas=(0.9, 1.0))", "b2 must be"),
        ("torch.optim.Adam(p, b1=0.9)", "argument must be for Adam: lr eps .*, got 'b1'"),
        ("torch.optim.Adam(p, weight_decay=-1.0)", "strength must be"),
    ],
)
def test_what_is_not_known_is_said(line: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        explain(line)
