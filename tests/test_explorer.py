"""The page of docs/explorer: its JavaScript against `js.simulate`, `theory` and the libraries that its lines are of."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import quote, urlencode

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsparse as js
from jaxsparse import regularizers, rules, theory
from jaxsparse.rules import RULES

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "explorer"
NODE = shutil.which("node")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NAMES = rules.functions.__all__
FORMS = ("l2", "wd", "wd-lr")
CASES = list(itertools.product(NAMES, rules.CONVENTIONS, FORMS))
STEPS, THRESHOLD, INIT = 500, 1e-3, 0.7713
MARKS = [0, 1, 2, 3, 5, 10, 20, 50, 100, 200, 300, STEPS]
CORNERS: dict[str, tuple[float, ...]] = {
    "learning_rate": (1e-5, 1.0),
    "strength": (1e-6, 0.5),
    "eps": (0.0, 1e-12, 0.1),
    "momentum": (0.0, 0.99),
    "b1": (0.0, 0.99),
    "b2": (0.0, 0.9999),
    "decay": (0.0, 0.9999),
    "rho": (0.0, 0.9999),
    "initial_accumulator_value": (0.0, 1e-6, 1.0),
}
"""Both ends of each slider, and what comes next to 0."""
DENORMAL = 1e-290
"""XLA takes denormals for zero, JavaScript does not; weights near them differ."""
ELSEWHERE: dict[str, float] = {"momentum": 0.8, "b1": 0.8, "b2": 0.95, "decay": 0.95, "rho": 0.8, "eps": 1e-3}
"""Hyperparameters that no library has as default."""
Setting: TypeAlias = dict[str, Any]
Case: TypeAlias = tuple[str, str, str]


class Explored(NamedTuple):
    """What came out of the modules."""

    constants: dict[str, Any]
    results: dict[tuple[str, Case], list[dict[str, Any]]]
    """`still` at the corners without a gradient, `moved` with, and `lines`"""


def settings(name: str, convention: str, form: str) -> list[Setting]:
    """One of a rule at each corner."""
    defaults = RULES[name].defaults(convention)
    spans = {key: CORNERS.get(key, (False, True)) for key in ("learning_rate", "strength", *defaults)}
    corners = [dict(zip(spans, values, strict=True)) for values in itertools.product(*spans.values())]
    return [
        {
            "optimizer": name,
            "convention": convention,
            "form": form,
            "init": INIT,
            "learning_rate": corner.pop("learning_rate"),
            "strength": corner.pop("strength"),
            "hyper": corner,
        }
        for corner in corners
    ]


def lines(name: str, convention: str, form: str) -> list[Setting]:
    """With the defaults, and with none of them."""
    fixed = {"optimizer": name, "convention": convention, "form": form, "init": INIT, "strength": 0.02}
    defaults = RULES[name].defaults(convention)
    others = {key: ELSEWHERE.get(key, True if value is False else 0.3) for key, value in defaults.items()}
    return [{**fixed, "learning_rate": rate, "hyper": hyper} for rate, hyper in ((0.03, defaults), (1.0, others))]


def gradients() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, STEPS)


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> Explored:
    """What the modules make of all cases: each at the corners without and with a gradient, then the lines."""
    if NODE is None:
        pytest.skip("no node")
    folder = tmp_path_factory.mktemp("explorer") / "modules"
    shutil.copytree(PAGE, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    noise = gradients().tolist()
    cases: list[Setting] = []
    for case in CASES:
        corners, written = settings(*case), lines(*case)
        cases += [*corners, *({**one, "gradients": noise} for one in (*corners, *written))]
    told = {"threshold": THRESHOLD, "marks": MARKS, "cases": cases}
    command = [NODE, str(ROOT / "tests" / "outside" / "explorer.mjs"), str(folder)]
    done = subprocess.run(command, input=json.dumps(told), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    constants = json.loads(done.stdout)
    left = iter(constants.pop("results"))
    found = Explored(constants, {})
    for case in CASES:
        count = len(settings(*case))
        for part, size in (("still", count), ("moved", count), ("lines", len(lines(*case)))):
            found.results[part, case] = list(itertools.islice(left, size))
    assert next(left, None) is None
    return found


def numbers(values: Any) -> np.ndarray:
    """JSON has no infinity and no NaN, so they come as words."""
    return np.array([[float(value) for value in row] for row in values])


def test_constants_are_pythons(explored: Explored) -> None:
    assert list(explored.constants["rules"]) == NAMES
    for name, found in explored.constants["rules"].items():
        rule = RULES[name]
        assert found["defaults"] == {convention: rule.defaults(convention) for convention in rules.CONVENTIONS}
        assert (found["label"], found["learning_rate"]) == (rule.label, rule.learning_rate)
        assert rule.look is not None
        assert found["color"] == rule.look.color


def test_sliders_end_at_the_corners(explored: Explored) -> None:
    for name, values in CORNERS.items():
        span = explored.constants["ranges"][name]
        begin = [0.0, span["low"]] if span.get("zero") else [0.0 if span.get("fraction") else span["low"]]
        tried = [0.0, *values] if name == "strength" else list(values)  # 0 is no regularizer: nothing moves
        assert [*begin, span["high"]] == tried


def followed(case: Case) -> np.ndarray:
    """By `js.simulate`, `[steps + 1, 2 corners]`: without a gradient, then with."""
    name, convention, form = case
    corners = settings(*case)
    flags = [one["hyper"].get("nesterov") for one in corners]
    paths = np.empty((STEPS + 1, 2 * len(corners)))
    noise = gradients()[:, None]
    for flag in set(flags):
        chosen = [index for index, one in enumerate(flags) if one is flag]
        table = {key: [corners[index][key] for index in chosen] for key in ("learning_rate", "strength")}
        for key in corners[0]["hyper"].keys() - {"nesterov"}:
            table[key] = [corners[index]["hyper"][key] for index in chosen]

        def tx(s: dict[str, Any], flag: bool | None = flag) -> optax.GradientTransformation:
            hyper = s | ({} if flag is None else {"nesterov": flag})
            rate, strength = hyper.pop("learning_rate"), hyper.pop("strength")
            decay = regularizers.regularizer(form, strength)
            return rules.optimizer(name, rate, regularizer=decay, convention=convention, **hyper)

        still = np.zeros((STEPS, len(chosen)))
        both = np.concatenate([still, still + noise], axis=1)
        doubled = {key: np.tile(np.array(values), 2) for key, values in table.items()}
        columns = np.array([*chosen, *(index + len(corners) for index in chosen)])
        paths[:, columns] = js.simulate(tx, np.full(len(columns), INIT), both, settings=doubled)
    return paths


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_follows_simulate(case: Case, explored: Explored) -> None:
    with jax.enable_x64(True):
        want = followed(case)
    still, moved = explored.results["still", case], explored.results["moved", case]
    got = numbers(one["weights"] for one in (*still, *moved)).T
    np.testing.assert_allclose(got, want[MARKS], rtol=1e-6, atol=DENORMAL)
    below = abs(want) < THRESHOLD
    first = np.where(below.any(axis=0), below.argmax(axis=0), np.inf)
    np.testing.assert_array_equal(numbers([[one["below"] for one in (*still, *moved)]])[0], first)


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_theory(case: Case, explored: Explored) -> None:
    """Where it is exact; nothing elsewhere."""
    name, convention, form = case
    got = numbers([[one["theory"] for one in explored.results["still", case]]])[0]
    if form == "l2" and RULES[name].adaptive:
        assert np.isnan(got).all()
        return
    want = [
        theory.steps_to(
            THRESHOLD,
            name,
            regularizers.regularizer(form, one["strength"]),
            learning_rate=one["learning_rate"],
            init=INIT,
            convention=convention,
            **one["hyper"],
        )
        for one in settings(*case)
    ]
    np.testing.assert_allclose(got, want, rtol=1e-9)


def stepped(tx: optax.GradientTransformation, steps: int) -> list[float]:
    weight: Any = jnp.array(INIT)
    state, path = tx.init(weight), [INIT]
    for gradient in gradients()[:steps]:
        update, state = tx.update(jnp.array(gradient), state, weight)
        weight = optax.apply_updates(weight, update)
        path.append(float(weight))
    return path


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_lines_do_what_is_shown(case: Case, explored: Explored) -> None:
    with jax.enable_x64(True):
        for found in explored.results["lines", case]:
            for line in filter(None, (found["jaxsparse"], found["optax"])):
                path = stepped(eval(line, {"js": js, "optax": optax}), 3)
                np.testing.assert_allclose(path, found["weights"][:4], rtol=1e-9, err_msg=line)


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_lines_of_torch(case: Case, explored: Explored) -> None:
    name, convention, form = case
    told = [found["torch"] for found in explored.results["lines", case]]
    has_form = form == "l2" or (form == "wd-lr" and name in ("adam", "amsgrad"))
    assert convention != "torch" or (None not in told) == has_form
    if None in told:
        return
    torch = pytest.importorskip("torch")
    for found in explored.results["lines", case]:
        weight = torch.nn.Parameter(torch.tensor(INIT, dtype=torch.float64))
        optimizer = eval(found["torch"], {"torch": torch, "params": [weight]})
        path = [INIT]
        for gradient in gradients()[:3]:
            weight.grad = torch.tensor(gradient, dtype=torch.float64)
            optimizer.step()
            path.append(weight.item())
        np.testing.assert_allclose(path, found["weights"][:4], rtol=1e-9, err_msg=found["torch"])


def test_noise_is_normal(explored: Explored) -> None:
    drawn = np.array(explored.constants["normal"])
    assert abs(drawn.mean()) < 4 / np.sqrt(drawn.size)
    assert abs(drawn.std() - 1) < 4 / np.sqrt(2 * drawn.size)
    assert abs((abs(drawn) < 1).mean() - 0.6827) < 0.02
    assert abs(np.corrcoef(drawn[1:], drawn[:-1])[0, 1]) < 4 / np.sqrt(drawn.size)


def test_page_shows_its_address(tmp_path: Path) -> None:
    """In a browser: three curves, the steps of theory, the lines."""
    if CHROMIUM is None:
        pytest.skip("no chromium")
    pins = [
        {"optimizer": "sgd", "convention": "keras", "form": "l2", "momentum": 0.9},
        {"optimizer": "adam", "convention": "paper", "form": "wd-lr", "strength": 0.02, "noise": 1e-9},
    ]
    told = {"optimizer": "adamax", "convention": "torch", "form": "wd", "strength": 3e-4, "steps": 1e5}
    address = urlencode({**told, "axes": "linear log 1e-6"}) + "".join(f"&pin={quote(urlencode(pin))}" for pin in pins)
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom"]
    command = [CHROMIUM, *flags, "--virtual-time-budget=10000", f"--user-data-dir={tmp_path}"]
    url = f"{(PAGE / 'index.html').as_uri()}#{address}"
    shown = subprocess.run([*command, url], capture_output=True, text=True, timeout=120).stdout
    assert shown.count('class="line"') == 6  # a curve and its swatch each
    decay = theory.steps_to(THRESHOLD, "adamax", js.DecoupledDecay(3e-4), learning_rate=2e-3, init=1.0)
    sgd = theory.steps_to(THRESHOLD, "sgd", js.CoupledL2(1e-4), learning_rate=0.1, init=1.0, momentum=0.9)
    assert shown.count(f"<dd>{decay:,.0f}</dd>") == shown.count(f"<dd>{sgd:,.0f}</dd>") == 2
    assert "<dd>not with noise</dd>" in shown
    assert "js.adamax(2e-3, regularizer=js.DecoupledDecay(3e-4))" in re.sub("<[^>]*>", "", shown)
    assert 'id="unloaded"' not in shown
