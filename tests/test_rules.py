"""Rules: what can stand for one, rules from outside of the package, and what it takes to build one in."""

import ast
import csv
import functools
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

import jaxsparse as js
from jaxsparse import decay, grid, records, rules, theory
from jaxsparse.checks import InvalidInput
from jaxsparse.cli import main
from jaxsparse.config import Run
from jaxsparse.rules import Form, Rule, scaled

ROOT = Path(__file__).parents[1]
SMALL = Run(widths=(8,), epochs=4, batch=200, measure_every=2)
QUICK = ["--epochs", "4", "--batch", "200", "--widths", "8", "--measure-every", "2", "--seeds", "1"]


def heavy_ball(rate: Any, momentum: float = 0.0, weight_decay: float = 0.5) -> optax.GradientTransformation:
    """SGD as somebody else may write it, with a decay of its own."""
    return optax.chain(
        optax.trace(momentum), optax.scale_by_learning_rate(rate), optax.add_decayed_weights(-weight_decay)
    )


FLAT = Rule("flat", dict.fromkeys(rules.CONVENTIONS, Form(scaled(optax.scale_by_sign), {})), label="Flat")


@pytest.mark.parametrize("name", rules.functions.__all__)
def test_a_name_its_rule_and_its_function_are_one(name: str) -> None:
    rule = rules.RULES[name]
    assert rules.resolve(name) is rules.resolve(rule) is rules.resolve(getattr(js, name)) is rule
    assert rule.name == name
    assert rules.resolve(f"jaxsparse:{name}") is rule


def test_functions_of_a_learning_rate() -> None:
    lion = rules.resolve(optax.lion)
    assert lion is rules.resolve("optax:lion")
    assert (lion.name, lion.label, lion.learning_rate) == ("optax:lion", "optax:lion", 1e-3)
    assert [lion.defaults(convention) for convention in rules.CONVENTIONS] == [{"b1": 0.9, "b2": 0.99}] * 4
    assert rules.resolve(optax.contrib.schedule_free_sgd).name == "optax.contrib:schedule_free_sgd"
    assert rules.resolve(optax.contrib.schedule_free_sgd).learning_rate == 1.0  # its own default
    assert rules.resolve(heavy_ball).name == f"{__name__}:heavy_ball"
    assert rules.resolve(heavy_ball).defaults() == {"momentum": 0.0}

    def mine(rate: Any) -> optax.GradientTransformation:
        return optax.sgd(rate)

    assert rules.resolve(mine).name == "mine"
    assert rules.resolve("mine") is rules.resolve(mine)
    assert rules.of(lambda rate: optax.sgd(rate), name="mine-too").name == "mine-too"


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ("adamz", f"optimizer must be one of {' '.join(rules.NAMES)}, got 'adamz'"),
        ("optax:tiger", "optimizer must be module:name of what can be imported, got 'optax:tiger' (module 'optax' has"),
        ("nowhere:rule", "optimizer must be module:name of what can be imported, got 'nowhere:rule' (No module"),
        (":rule", "optimizer must be module:name of what can be imported, got ':rule' (Empty module name"),
        ("optax:__version__", "optimizer must be a name, a jaxsparse.rules.Rule, or a function from a learning rate"),
        (None, "optimizer must be a name, a jaxsparse.rules.Rule, or a function from a learning rate"),
        (functools.partial(optax.lion, b1=0.5), "optimizer must be named: jaxsparse.rules.of(function, name=..)"),
        (optax.scale_by_lion, "optimizer must be a function of a learning rate, whose other arguments have defaults"),
        (optax.contrib.dpsgd, "optimizer must be a function of a learning rate, whose other arguments have defaults"),
        (lambda: optax.lion(1e-3), "optimizer must be a name, a jaxsparse.rules.Rule, or a function from a learning"),
        (optax.sm3, "optimizer must be a function from a schedule to an optax transformation, whose float arguments"),
        (optax.lbfgs, "optimizer must be a function from a schedule to an optax transformation, whose float arguments"),
        (optax.clip_by_global_norm, "optimizer must be a function from a schedule to an optax transformation"),
        (lambda rate: 2.0, "optimizer must be a function from a schedule to an optax transformation"),
    ],
)
def test_what_is_no_rule_is_said_in_one_line(optimizer: Any, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        rules.resolve(optimizer)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_name_stands_for_one_rule() -> None:
    rules.of(lambda rate: optax.sgd(rate), name="twice")
    with pytest.raises(InvalidInput, match=r"^optimizer must be a name that no other rule has, got 'twice'$"):
        rules.of(lambda rate: optax.lion(rate), name="twice")
    with pytest.raises(InvalidInput, match="no other rule has, got 'adam'"):
        rules.resolve(replace(rules.RULES["adam"], learning_rate=0.5))
    with pytest.raises(InvalidInput, match="no other rule has, got 'sgd'"):
        Run(optimizer=Rule("sgd", FLAT.forms))  # type: ignore
    with pytest.raises(InvalidInput, match=r"^name must be made of letters, digits and _ - \. :, got '\.\./flat'$"):
        replace(FLAT, name="../flat")


def test_a_convention_that_has_no_such_rule_is_absent() -> None:
    lion = Rule("lion-of-optax", {"optax": Form(scaled(optax.scale_by_lion), {"b1": 0.9, "b2": 0.99})})
    assert lion(1e-3, convention="optax")
    with pytest.raises(InvalidInput, match=r"^convention must be one of optax for lion-of-optax, got 'torch'$"):
        lion(1e-3)
    with pytest.raises(InvalidInput, match="for lion-of-optax, got 'torch'"):
        grid.Declaration(SMALL, (lion,), ("l2",), (0.1,), (0,))  # type: ignore


def lion_in_numpy(gradients: np.ndarray, w: np.ndarray, rate: float, coupled: float, decay: float) -> np.ndarray:
    """Chen et al. 2023, algorithm 2, with L2 in the gradient, or decay after the step."""
    m = np.zeros_like(w)
    for g in gradients:
        g = g + coupled * w
        step, m = -rate * np.sign(0.8 * m + 0.2 * g), 0.99 * m + 0.01 * g
        w = (1 - decay) * (w + step)
    return w


@pytest.mark.parametrize("optimizer", [optax.lion, "optax:lion"])
@pytest.mark.parametrize(("regularizer", "form"), [("none", (0, 0)), ("l2", (1, 0)), ("wd", (0, 1)), ("wd-lr", None)])
def test_a_rule_of_optax_follows_its_formula(optimizer: Any, regularizer: str, form: tuple[int, int] | None) -> None:
    rng, strength, rate = np.random.default_rng(0), 0.05, 0.01
    gradients, init = rng.normal(size=(50, 6)), rng.normal(size=6)
    with jax.enable_x64(True):
        penalty = js.regularizers.regularizer(regularizer, strength)
        tx = js.optimizer(optimizer, rate, b1=0.8, regularizer=penalty)
        weights, state = jnp.asarray(init), tx.init(jnp.asarray(init))
        for gradient in gradients:
            updates, state = tx.update(jnp.asarray(gradient), state, weights)
            weights = optax.apply_updates(weights, updates)
    if form is None:  # AdamW's: of the weight before the step
        want, m = init, np.zeros(6)
        for g in gradients:
            step, m = -rate * np.sign(0.8 * m + 0.2 * g), 0.99 * m + 0.01 * g
            want = want + step - rate * strength * want
    else:
        want = lion_in_numpy(gradients, init, rate, form[0] * strength, form[1] * strength)
    np.testing.assert_allclose(np.asarray(weights), want, rtol=1e-12)


def test_a_sweep_of_a_foreign_rule_compiles_once() -> None:
    compiled = 0

    @jax.jit
    def step(rate: Any, strength: Any, numbers: Any) -> Any:
        nonlocal compiled
        compiled += 1
        tx = js.optimizer("optax:yogi", lambda count: rate, regularizer=js.CoupledL2(strength), **numbers)
        return tx.update(jnp.ones(2), tx.init(jnp.ones(2)), jnp.ones(2))[0]

    numbers = rules.defaults("optax:yogi")
    found = [step(0.1 * c, 0.2 * c, {name: c * value for name, value in numbers.items()}) for c in (1.0, 0.9, 0.8)]
    assert compiled == 1
    assert not jnp.array_equal(found[0], found[1])


def test_theory_of_a_rule() -> None:
    setting: dict[str, Any] = {"learning_rate": 0.1, "init": 1.0, "steps": 5}
    l2, decay = js.CoupledL2(1e-2), js.DecoupledDecay(1e-2)
    by_name = theory.predict("sgd", l2, **setting)
    assert np.array_equal(theory.predict(rules.RULES["sgd"], l2, **setting), by_name)
    assert np.array_equal(theory.predict(js.sgd, l2, **setting), by_name)
    assert np.array_equal(theory.predict(optax.lion, decay, **setting), theory.predict("adam", decay, **setting))
    with pytest.raises(InvalidInput, match=r"^optimizer must be one of sgd adam .* for coupled L2, got 'optax:lion'$"):
        theory.predict(optax.lion, l2, **setting)


def test_one_weight_under_a_foreign_rule() -> None:
    plan = decay.Plan((optax.sign_sgd, "sgd"), ("l2",), (1e-3,), "zero-gradient", 0.0105, 20)  # type: ignore
    assert plan.optimizers == ("optax:sign_sgd", "sgd")
    curve = [row["value"] for row in decay.follow(plan).curves.to_pylist() if row["optimizer"] == "optax:sign_sgd"]
    steps = np.abs(np.asarray(curve[:11])[:, None] - (0.0105 - 1e-3 * np.arange(11))[:, None])
    assert steps.max() < 1e-12  # by the learning rate in every step, whatever the strength


def test_a_grid_trains_rules_from_outside(tmp_path: Path) -> None:
    """What is SGD with momentum by another hand ends where SGD does, in all of the training's figures."""
    run = replace(SMALL, milestones=(2,), factor=0.5)
    declaration = grid.Declaration(
        run,
        optimizers=("sgd", heavy_ball, FLAT),  # type: ignore
        regularizers=("l2",),
        strengths=(0.01,),
        seeds=(0, 1),
        learning_rate=0.05,
        constants={"momentum": 0.9},
    )
    outside = f"{__name__}:heavy_ball"
    assert declaration.optimizers == ("sgd", outside, "flat")
    assert all(step.ended is not None for step in grid.run(declaration, tmp_path))
    rows = {(row["optimizer"], row["seed"]): row for row in records.results(tmp_path).to_pylist()}
    assert {row["status"] for row in rows.values()} == {"done"}
    assert len(rows) == 3 * 2
    for seed in (0, 1):
        ours, theirs, flat = (rows[name, seed] for name in declaration.optimizers)
        assert theirs["train_loss"] == pytest.approx(ours["train_loss"], rel=1e-4)
        assert flat["train_loss"] != pytest.approx(ours["train_loss"], rel=1e-2)
    described = records.describe(tmp_path / "cells" / f"{__name__}.heavy_ball-l2-0.01-seed0")
    assert described["run"]["optimizer"] == outside
    assert described["constants"] == {"momentum": 0.9}
    assert json.loads((tmp_path / "grid.json").read_text())["optimizers"] == list(declaration.optimizers)


def test_a_grid_of_the_command_line_trains_a_rule_of_optax(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To table, CSV and report; and a rule of a file in the folder that the command is given in."""
    monkeypatch.chdir(tmp_path)
    text = (
        "import optax\nfrom jaxsparse.rules import Form, Rule, scaled\nFORM = Form(scaled(optax.scale_by_sign), {})\n"
    )
    Path("signs_of_mine.py").write_text(text + 'rule = Rule("signs", {"torch": FORM}, label="Signs")\n')
    chosen = ["--optimizers", "adam", "optax:lion", "signs_of_mine:rule", "--regularizers", "l2", "--strengths", "0.01"]
    assert main(["grid", *chosen, *QUICK, "--out", "out"]) == 0
    told = capsys.readouterr().out
    assert all(label in told for label in ("Adam", "optax:lion", "Signs"))
    cells = {path.name for path in Path("out/cells").iterdir()}
    assert cells == {f"{name}-l2-0.01-seed0" for name in ("adam", "optax.lion", "signs_of_mine.rule")}
    described = records.describe(Path("out/cells/optax.lion-l2-0.01-seed0"))
    assert (described["learning_rate"], described["constants"]) == (1e-3, {"b1": 0.9, "b2": 0.99})
    page = Path("out/report.html").read_text()
    assert page.count("optax:lion") > 3
    assert "Signs" in page
    assert main(["results", "out", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["optimizer"] for row in rows] == ["adam", "optax:lion", "signs_of_mine:rule"]
    assert main(["grid", "--optimizers", "optax:tiger", "--out", "other"]) == 2
    assert capsys.readouterr().err.startswith("jaxsparse: optimizers must be module:name of what can be imported")


def test_a_rule_built_in_is_one_file(tmp_path: Path) -> None:
    """Known to `js.optimizer`, to the command line and to figures; a grid without any flag stays what it was."""
    copy = tmp_path / "jaxsparse"
    shutil.copytree(ROOT / "jaxsparse", copy, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "tests" / "outside" / "tiger.py", copy / "rules")
    code = """
import sys
import jax.numpy as jnp, optax
import jaxsparse as js
from jaxsparse import cli, decay
from jaxsparse.commands.grid import Grid
from jaxsparse.report import figures, table
assert js.rules.NAMES[-1] == "tiger", js.rules.NAMES
tx, same = js.optimizer("tiger", 0.1, convention="optax", b1=0.8), optax.lion(0.1, 0.8, 0.8, weight_decay=0.0)
weights = jnp.array([0.5, -2.0])
got, want = (one.update(weights, one.init(weights), weights)[0] for one in (tx, same))
assert jnp.array_equal(got, want)
assert table.optimizer_label("tiger") == "Tiger"
assert figures.look("tiger").color == "#000000"
assert "tiger" not in Grid().optimizers and "tiger" not in decay.Plan().optimizers
assert js.rules.having("b1")[-1] == "tiger"
flags = ["--regularizers", "l2", "--strengths", "1e-3", "--protocol", "zero-gradient", "--steps", "3", "--csv"]
sys.exit(cli.main(["decay", "--optimizers", "tiger", "--convention", "keras", "--init", "1", *flags]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [float(row["value"]) for row in rows] == pytest.approx([1, 1 - 1e-4, 1 - 2e-4, 1 - 3e-4])


def names_in(path: Path) -> set[str]:
    """The usual rules that a file names, as a string or as something imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    return (texts | imported) & set(rules.functions.__all__)


def test_the_rules_are_listed_once() -> None:
    """A file that names all of them but one, or more, is a list."""
    functions = rules.functions.__all__
    assert tuple(functions) == rules.NAMES[: len(functions)]
    files = sorted((ROOT / "jaxsparse").rglob("*.py"))
    listed = [str(path.relative_to(ROOT)) for path in files if len(names_in(path)) >= len(functions) - 1]
    assert listed == ["jaxsparse/rules/functions.py"]


def test_every_function_is_its_rule() -> None:
    """Called by its own arguments, and by name."""
    weights = jnp.array([0.5, -2.0, 0.0])
    for name in rules.functions.__all__:
        function: Callable[..., optax.GradientTransformation] = getattr(js, name)
        for convention in rules.RULES[name].forms:
            first, second = function(0.1, convention=convention), rules.RULES[name](0.1, convention=convention)
            got, want = (tx.update(weights, tx.init(weights), weights)[0] for tx in (first, second))
            assert jnp.array_equal(got, want), name
