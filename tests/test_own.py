"""A person's own things in a grid, from outside: data, network, loss, regularizer, figure. Nothing is patched."""

import importlib
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from matplotlib.figure import Figure
from rich.console import Console

import jaxsparse as js
from jaxsparse import data, files, records, shrinking
from jaxsparse.checks import InvalidInput
from jaxsparse.cli import main
from jaxsparse.config import Hyper, Run

DRAWN = np.random.default_rng(0)
X = DRAWN.normal(size=(240, 6)).astype(np.float32)
Y = (X[:, 0] * X[:, 1] > 0).astype(np.int64)
MINE = data.arrays((X[:200], Y[:200]), test=(X[200:], Y[200:]), name="mine")
REAL = data.arrays((X[:200], X[:200, :2]), test=(X[200:], X[200:, :2]), name="real")


class Net(nnx.Module):
    """With everything that has a state of its own: statistics, and keys that dropout draws with."""

    def __init__(self, *, rngs: nnx.Rngs, outputs: int = 2):
        self.first = nnx.Linear(6, 16, rngs=rngs)
        self.norm = nnx.BatchNorm(16, rngs=rngs)
        self.drop = nnx.Dropout(0.2, rngs=rngs)
        self.last = nnx.Linear(16, outputs, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.last(self.drop(nnx.relu(self.norm(self.first(x)))))


def net_for_two(*, rngs: nnx.Rngs) -> Net:
    return Net(rngs=rngs)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class L1(js.regularizers.Penalty):
    """L1 of every weight."""

    name = "l1"

    def transformation(self, mask: Any = None) -> optax.GradientTransformation:
        pulled = optax.stateless(lambda u, p: jax.tree.map(lambda g, w: g + self.strength * jnp.sign(w), u, p))
        return pulled if mask is None else optax.masked(pulled, mask)


def half_then_sign(learning_rate: Any, share: float = 0.5) -> optax.GradientTransformation:
    """An optimizer of one's own: a chain of optax's pieces."""
    return optax.chain(optax.trace(share), optax.scale_by_sign(), optax.scale_by_learning_rate(learning_rate))


def seeds(folder: Path) -> Figure:
    """Cells by seed.

    How many cells each
    seed has.
    """
    figure = Figure()
    figure.subplots().hist([row["seed"] for row in records.results(folder).to_pylist()])
    return figure


SETTINGS: dict[str, Any] = {"epochs": 4, "batch": 50, "measure_every": 2, "seeds": 1, "strengths": [0.05]}


def test_a_criterion_of_ones_own(tmp_path: Path) -> None:
    """Units that are active at less than half of the positions, counted by hand; one that no layer has is nowhere."""
    seldom = js.Criterion("seldom", lambda units: units.rate, threshold=0.5)
    absent = js.Criterion("absent", lambda units: None, threshold=1.0)
    settings = {**SETTINGS, "epochs": 2}
    results = js.Grid(MINE, Net, ["adam"], ["none"], criteria=[seldom, absent], **settings).run(
        tmp_path / "g", quiet=True
    )
    (row,) = results.frame().to_dict("records")
    cell = results.folder / "cells" / "adam-none-seed0"
    model = js.load(cell, like=Net(rngs=nnx.Rngs(0)))
    model.eval()
    active = np.asarray(nnx.relu(model.norm(model.first(X[:200]))) > 0).mean(0)
    assert row["sparsity_seldom"] == pytest.approx(100 * np.mean(active < 0.5))
    assert 0 < row["sparsity_seldom"] < 100
    assert np.isnan(row["sparsity_absent"])
    assert records.describe(cell)["run"]["thresholds"]["own"] == [
        {"name": "seldom", "threshold": 0.5},
        {"name": "absent", "threshold": 1.0},
    ]
    entry = results.table().flat[0]
    assert list(entry.sparsity) == ["scale", "activation", "norm", "seldom"]
    assert "by seldom" in results.report().read_text(encoding="utf-8")
    again = js.Grid(MINE, Net, ["adam"], ["none"], criteria=[absent], **settings)
    with pytest.raises(InvalidInput, match=r"run.thresholds.own was"):
        again.run(tmp_path / "g", quiet=True)
    with pytest.raises(InvalidInput, match="criteria must be of different names"):
        js.measure(model, X, thresholds=js.Thresholds(own=(js.Criterion("norm", lambda units: None, 1.0),)))


def test_a_grid_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All at once: arrays, network, optimizer, regularizer, criterion and figure, from the grid to its report."""
    large = js.Criterion("large", lambda units: 1 / units.norm, threshold=1.0)
    optimizers, forms = ["adam", js.sgd, half_then_sign], ["none", L1, js.BatchNormL1]
    results = js.Grid(MINE, Net, optimizers, forms, criteria=[large], **SETTINGS).run(tmp_path / "g")
    assert "L1 of scales" in capsys.readouterr().out
    found = results.frame()
    assert len(found) == 9
    assert set(found["regularizer"]) == {"bn-l1", "l1", "none"}
    assert set(found["optimizer"]) == {"adam", "sgd", f"{__name__}:half_then_sign"}
    assert found["sparsity_large"].notna().all()
    assert set(found["dataset"]) == {"mine"}
    assert set(found["model"]) == {"Net"}
    assert set(found["status"]) == {"done"}
    assert "l1 0.05" in str(results.table())
    assert results.table()._repr_markdown_().startswith("|  | none | l1 0.05 |")
    assert isinstance(results.figure("sparsity"), Figure)
    with pytest.raises(InvalidInput, match=r"figure must be one of sparsity-over-training .* got 'nothing'"):
        results.figure("nothing")
    page = results.report(seeds).read_text(encoding="utf-8")
    assert "Cells by seed" in page
    assert "How many cells each seed has." in page
    assert (tmp_path / "g" / "figures" / "seeds.svg").exists()
    assert "l1" in page
    assert "half_then_sign" in page
    assert "by large" in page


def test_figures_of_ones_own_loss_are_those_of_a_plain_loop() -> None:
    """Real targets, a loss and a network of one's own: the training is optax's in float64 NumPy-like steps."""

    def loss(outputs: jax.Array, targets: jax.Array) -> jax.Array:
        return jnp.abs(outputs - targets) ** 3

    def plain(*, rngs: nnx.Rngs) -> nnx.Linear:
        return nnx.Linear(6, 2, rngs=rngs)

    run = Run(data=REAL, model=plain, loss=loss, optimizer="sgd", epochs=3, batch=200, measure_every=1)
    training = js.make_train(run)
    key = jax.random.key(3)
    start, _ = training.start(key)
    state, rows = jax.jit(training)(Hyper(0.1, 0.0, {"momentum": 0.0}), key, data.load(REAL))
    weights, bias = np.asarray(start["kernel"], np.float64), np.asarray(start["bias"], np.float64)
    x, y, losses = X[:200].astype(np.float64), X[:200, :2].astype(np.float64), []
    for _ in range(3):
        off = x @ weights + bias - y
        losses.append(np.mean(np.abs(off) ** 3))
        pull = 3 * off**2 * np.sign(off) / off.size
        weights, bias = weights - 0.1 * x.T @ pull, bias - 0.1 * pull.sum(0)
    np.testing.assert_allclose(np.ravel(rows.train_loss), losses, rtol=1e-5)
    np.testing.assert_allclose(state.params["kernel"], weights, rtol=1e-4, atol=1e-6)
    off = X[200:] @ weights + bias - X[200:, :2]
    assert float(rows.test_loss[-1]) == pytest.approx(np.mean(np.abs(off) ** 3), rel=1e-4)
    unexplained = 100 * np.mean(off**2) / np.mean(X[200:, :2].var(0))
    assert float(rows.test_error[-1]) == pytest.approx(unexplained, rel=1e-4)


@pytest.mark.parametrize("shape", [(3,), ()], ids=["labels by position", "one label"])
def test_errors_of_labels(shape: tuple[int, ...]) -> None:
    """Of several positions each counts its share; a single output is a side of zero."""
    x = DRAWN.normal(size=(60, 4)).astype(np.float32)
    y = DRAWN.integers(0, 5, (60, *shape))

    class Fixed(nnx.Module):
        def __init__(self) -> None:
            self.kernel = nnx.Param(jnp.asarray(DRAWN.normal(size=(4, 5 * int(np.prod(shape)))), jnp.float32))

        def __call__(self, x: jax.Array) -> jax.Array:
            return (x @ self.kernel[...]).reshape(len(x), *shape, 5)

    model, dataset = Fixed(), data.load(data.arrays((x, y), test=(x, y), name="positions"))
    found = js.losses.evaluate(model, dataset, dataset.test)
    logits = np.asarray(model(jnp.asarray(x)), np.float64)
    wrong = np.mean(logits.argmax(-1) != y)
    own = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    assert float(found.error) == pytest.approx(100 * wrong, rel=1e-5)
    assert float(found.loss) == pytest.approx(-np.mean(np.take_along_axis(own, y[..., None], -1)), rel=1e-5)


def test_a_single_logit() -> None:
    x = DRAWN.normal(size=(60, 1)).astype(np.float32)
    y = (x[:, 0] > 0.3).astype(int)
    dataset = data.load(data.arrays((x, y), test=(x, y), name="sides"))

    class Side(nnx.Module):
        def __call__(self, x: jax.Array) -> jax.Array:
            return x

    found = js.losses.evaluate(Side(), dataset, dataset.test, optax.sigmoid_binary_cross_entropy)
    assert float(found.error) == pytest.approx(100 * np.mean((x[:, 0] > 0) != y), rel=1e-5)
    wanted = np.mean(np.log1p(np.exp(-np.where(y, 1, -1) * x[:, 0].astype(np.float64))))
    assert float(found.loss) == pytest.approx(wanted, rel=1e-5)


def test_tokens_are_fed_as_they_are(tmp_path: Path) -> None:
    tokens = DRAWN.integers(0, 300, (120, 5))
    mine = data.arrays((tokens, tokens % 7), test=(tokens[:40], tokens[:40] % 7), name="tokens")

    class Reader(nnx.Module):
        def __init__(self, *, rngs: nnx.Rngs):
            self.embed = nnx.Embed(300, 8, rngs=rngs)
            self.last = nnx.Linear(8, 7, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            assert x.dtype == jnp.int32
            return self.last(self.embed(x))

    settings = {**SETTINGS, "epochs": 30, "measure_every": 30, "learning_rate": 0.1, "precision": "bfloat16"}
    results = js.Grid(mine, Reader, ["adam"], ["none"], **settings).run(tmp_path / "g", quiet=True)
    (row,) = records.results(results.folder).to_pylist()
    assert (row["status"], row["test_error"]) == ("done", 0.0)


def test_dropout_goes_on_and_is_no_weight(tmp_path: Path) -> None:
    """Its keys are part of the state: another seed drops others, the same seed the same; a record has none of them."""
    run = Run(data=MINE, model=Net, epochs=2, batch=50, measure_every=2)
    training = js.make_train(run)

    def losses(key: int, drop: int) -> np.ndarray:
        params, stats = training.start(jax.random.key(key))
        _, other = training.start(jax.random.key(drop))
        pairs = zip(js.trees.flatten(stats).items(), jax.tree.leaves(other), strict=True)
        mixed = jax.tree.unflatten(jax.tree.structure(stats), [b if "drop" in name else a for (name, a), b in pairs])
        _, rows = jax.jit(training)(Hyper(0.01), jax.random.key(0), data.load(MINE), (params, mixed))
        return np.ravel(rows.train_loss)

    same, others = losses(1, 2), losses(1, 3)
    np.testing.assert_array_equal(same, losses(1, 2))
    assert (same != others).all()
    js.Grid(MINE, Net, ["adam"], ["none"], **SETTINGS).run(tmp_path / "g", quiet=True)
    cell = tmp_path / "g" / "cells" / "adam-none-seed0"
    assert not [name for name in records.weights(cell) if "drop" in name]
    again = js.load(cell, like=Net(rngs=nnx.Rngs(5)))
    again.eval()
    error = float(js.losses.evaluate(again, data.load(MINE), data.load(MINE).test).error)
    assert error == pytest.approx(records.results(cell).to_pylist()[0]["test_error"], abs=1e-4)


def test_a_killed_grid_of_ones_own_goes_on(tmp_path: Path) -> None:
    whole = js.Grid(MINE, Net, ["adam", "sgd"], ["l2"], **SETTINGS).run(tmp_path / "whole", quiet=True)
    (tmp_path / "again").mkdir()
    again = js.Grid(MINE, Net, ["adam"], ["l2"], **SETTINGS).run(tmp_path / "again", quiet=True)
    again = js.Grid(MINE, Net, ["adam", "sgd"], ["l2"], **SETTINGS).run(tmp_path / "again", quiet=True)
    rows = [records.results(one.folder).drop_columns(["seconds"]).to_pylist() for one in (whole, again)]
    assert rows[0] == rows[1]
    other = data.arrays((X[:200], 1 - Y[:200]), test=(X[200:], Y[200:]), name="mine")
    with pytest.raises(InvalidInput, match="data_fingerprint was"):
        js.Grid(other, Net, ["adam", "sgd"], ["l2"], **SETTINGS).run(tmp_path / "again", quiet=True)
    with pytest.raises(InvalidInput, match=r"run.model was .*Net, is now .*net_for_two"):
        js.Grid(MINE, net_for_two, ["adam", "sgd"], ["l2"], **SETTINGS).run(tmp_path / "again", quiet=True)


@pytest.mark.parametrize("dead", [0, 5, 16], ids=["none", "some", "a whole layer"])
def test_parameters_without_dead_units(dead: int) -> None:
    """As many as the network has that `shrink` makes, and as the shapes say."""
    model = Net(rngs=nnx.Rngs(0))
    model.eval()
    mask = np.arange(16) < dead
    model.norm.scale[...] = jnp.where(mask, 0.0, 1.0)
    count = shrinking.parameters_left(nnx.eval_shape(lambda: Net(rngs=nnx.Rngs(0))), MINE.description.example)
    _, report = js.shrink(model, X[:4], {"norm": mask})
    alive = 16 - dead
    assert count({"norm": mask}) == report.parameters_after == alive * (6 + 1 + 2) + alive * 2 + 2


BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: data.arrays((X, Y[:-1]), test=(X, Y), name="a"), "train targets must be one for each of the 240 examples"),
    (lambda: data.arrays((X, Y), test=(X[:, :3], Y), name="a"), r"test examples must be \[6\] float32 each"),
    (lambda: data.arrays((X * np.nan, Y), test=(X, Y), name="a"), "train examples must be finite numbers"),
    (lambda: data.arrays((X, Y - 1), test=(X, Y), name="a"), "train targets must be labels from 0, got -1"),
    (lambda: data.arrays((X, Y), test=(X, Y), name="../a"), "name must be letters, digits"),
    (lambda: data.arrays((X[:0], Y[:0]), test=(X, Y), name="a"), "train examples must be an array .* at least one"),
    (lambda: data.arrays(X, test=(X, Y), name="a"), "train must be a pair"),
    (lambda: data.arrays((X, Y), test=(X, Y), name="a", flip=True), "flip must be left out"),
    (lambda: data.arrays((X.astype("U4"), Y), test=(X, Y), name="a"), "train examples must be real or whole numbers"),
    (
        lambda: data.arrays((X.astype(np.uint8), Y), test=(X.astype(np.uint8), Y), name="a"),
        r"train examples must be \[n, height, width, channels\] where they are uint8",
    ),
    (lambda: js.Grid(MINE, "basicnet"), r"model must be a network of your own for examples of the shape \[6\]"),
    (lambda: js.Grid(MINE, Net, widths=(3,)), "widths must be left out, Net is no network of this package"),
    (lambda: js.Grid(MINE, Net, batch=201), "batch must be at most the 200 training images of mine"),
    (lambda: js.Grid(MINE, Net, pixels="unit"), "pixels must be standardised for what are no images"),
    (lambda: js.Grid(MINE, Net, epoch=3), "epoch must be left out; other settings are activation batch"),
    (lambda: js.Grid(REAL, lambda *, rngs: Net(rngs=rngs, outputs=3)), r"outputs fit targets \[1, 2\], got <lambda>"),
    (lambda: js.Grid("digits", Net), r"model must be one that takes \[1, 8, 8, 1\]"),
    (lambda: js.Grid(MINE, nnx.relu), "model must be a name, or callable as model"),
    (lambda: js.Grid(MINE, lambda *, rngs: 3), "model must be a name, or callable as .* got 'int'"),
    (lambda: js.Grid(MINE, Net, regularizers=[lambda strength: 3]), "regularizers must be .*a Penalty"),
    (lambda: js.Grid(MINE, Net, ["adam"], [L1], thresholding="gaussian", sparsity=(0.5,)), "thresholded must be what"),
]


@pytest.mark.parametrize(("make", "told"), BAD, ids=[told[:40] for _, told in BAD])
def test_bad_input_is_one_line(make: Callable[[], Any], told: str) -> None:
    with pytest.raises(InvalidInput, match=told) as no:
        make()
    assert "\n" not in str(no.value)


def test_equal_data_are_equal() -> None:
    again = data.arrays((X[:200], Y[:200]), test=(X[200:], Y[200:]), name="mine")
    assert again == MINE
    assert hash(again) == hash(MINE)
    assert data.arrays((X[:200] + 1, Y[:200]), test=(X[200:], Y[200:]), name="mine") != MINE
    assert data.fingerprint(MINE) == data.dataset.fingerprint(data.load(MINE))


# From the command line


MODULE = """
from flax import nnx

class Net(nnx.Module):
    def __init__(self, *, rngs):
        self.first = nnx.Linear(6, 16, rngs=rngs)
        self.norm = nnx.BatchNorm(16, rngs=rngs)
        self.last = nnx.Linear(16, 2, rngs=rngs)

    def __call__(self, x):
        return self.last(nnx.relu(self.norm(self.first(x))))

def loss(outputs, targets):
    import optax
    return optax.softmax_cross_entropy_with_integer_labels(outputs, targets) * 2
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_module.py").write_text(MODULE)
    np.savez(tmp_path / "mine.npz", x_train=X[:200], y_train=Y[:200], x_test=X[200:], y_test=Y[200:])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("own_module", None)


def test_the_command_line_finds_them(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--data", "mine.npz", "--model", "own_module:Net", "--loss", "own_module:loss"]
    quick = ["--epochs", "2", "--batch", "50", "--seeds", "1", "--optimizers", "adam", "--regularizers", "none"]
    assert main(["grid", *flags, *quick]) == 0
    run = place / "runs" / "mine-Net" / "cells" / "adam-none-seed0"
    described = records.describe(run)["run"]
    assert described["data"] == str(place / "mine.npz")
    assert (described["model"], described["loss"]) == ("own_module:Net", "own_module:loss")
    capsys.readouterr()
    for command in (["measure", str(run), "--json"], ["shrink", str(run), "--json", "--out", "small"]):
        assert main(command) == 2
        told = capsys.readouterr().err
        assert told.startswith("jaxsparse: loss must be given, as a record never imports code")
        assert main([*command, "--loss", "own_module:loss"]) == 2
        assert "model must be given, as a record never imports code" in capsys.readouterr().err
        assert main([*command, "--loss", "own_module:loss", "--model", "own_module:Net"]) == 0
        assert json.loads(capsys.readouterr().out)
    export = ["export", "small", "--out", "small.stablehlo", "--format", "stablehlo"]
    assert main(export) == 2
    assert "model must be given, as a record never imports code" in capsys.readouterr().err
    assert main([*export, "--model", "own_module:Net"]) == 0
    exported = jax.export.deserialize((place / "small.stablehlo").read_bytes())
    module = importlib.import_module("own_module")
    smaller = js.load("small", like=module.Net(rngs=nnx.Rngs(0)))
    smaller.eval()
    np.testing.assert_allclose(exported.call(X[:5]), smaller(X[:5]), rtol=1e-5, atol=1e-6)
    own = ["--loss", "own_module:loss", "--model", "own_module:Net"]
    np.savez(place / "other.npz", x_train=X[:200], y_train=1 - Y[:200], x_test=X[200:], y_test=Y[200:])
    assert main(["measure", str(run), *own, "--data", "other.npz"]) == 2
    assert "data must be the images that the run was trained on" in capsys.readouterr().err
    (place / "mine.npz").rename(place / "moved.npz")
    data.given.at.cache_clear()
    assert main(["measure", str(run), *own]) == 2
    assert "data must be an .npz file" in capsys.readouterr().err
    assert main(["measure", str(run), *own, "--data", "moved.npz"]) == 0


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--model", "own_module:Nothing"], "model must be module:name .*no attribute 'Nothing'"),
        (["--model", "no_such_module:Net"], "model must be module:name .*No module named"),
        (["--model", "own_module:__doc__"], "model must be module:name of a function or a class"),
        (["--model", "own_module:Net", "--data", "gone.npz"], "data must be an .npz file .*No such file"),
        (["--data", "empty"], "data must be a folder with train/CLASS"),
        (["--data", "broken.npz"], "data must be an .npz file .*not a zip file"),
        (["--data", "half.npz"], "data must be an .npz file .* without y_test"),
        (["--data", "pickled.npz"], "data must be an .npz file .*allow_pickle=False"),
        (["--data", "tfds:no_such_set"], "data must be tfds:NAME of a prepared set"),
    ],
)
def test_what_is_not_there(flags: list[str], told: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "empty").mkdir()
    (place / "broken.npz").write_bytes(b"no zip")
    np.savez(place / "half.npz", x_train=X, y_train=Y, x_test=X)
    objects = np.array([{"a": 1}] * 3, object)
    np.savez(place / "pickled.npz", x_train=objects, y_train=Y[:3], x_test=objects, y_test=Y[:3])
    assert main(["grid", *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(told, line), line
    assert not (place / "runs").exists()


def test_folders_of_images(place: Path) -> None:
    from PIL import Image

    shown = {part: DRAWN.integers(0, 256, (6, 4, 5, 3), dtype=np.uint8) for part in ("train", "val")}
    for part, pixels in shown.items():
        for number, one in enumerate(pixels):
            folder = place / "animals" / part / ("cat" if number % 2 else "bear")
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(one).save(folder / f"{number}.png")
    found = data.load("animals")
    assert (found.description.name, found.description.shape, found.description.classes) == ("animals", (4, 5, 3), 2)
    order = [0, 2, 4, 1, 3, 5]
    np.testing.assert_array_equal(found.train.images, shown["train"][order])
    np.testing.assert_array_equal(found.test.images, shown["val"][order])
    np.testing.assert_array_equal(found.train.labels, [0, 0, 0, 1, 1, 1])
    Image.fromarray(shown["train"][0][:3]).save(place / "animals" / "train" / "cat" / "small.png")
    data.given.at.cache_clear()
    with pytest.raises(InvalidInput, match=r"small.png must be of one size, 5x4, got '5x3'"):
        data.load("animals")


def test_sets_of_tensorflow_datasets(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tfds = pytest.importorskip("tensorflow_datasets")
    import io

    from PIL import Image

    shown = DRAWN.integers(0, 256, (9, 4, 5, 3), dtype=np.uint8)

    def png(pixels: np.ndarray) -> io.BytesIO:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "png")
        file.seek(0)
        return file

    class OwnAnimals(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            features = {"image": tfds.features.Image(shape=(4, 5, 3)), "label": tfds.features.ClassLabel(num_classes=3)}
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            return {"train": self._generate_examples(0, 6), "test": self._generate_examples(6, 9)}

        def _generate_examples(self, first: int, last: int) -> Any:
            for n in range(first, last):
                yield n, {"image": png(shown[n]), "label": n % 3}

    monkeypatch.setenv("TFDS_DATA_DIR", str(place))
    tfds.disable_progress_bar()
    OwnAnimals(data_dir=place, file_format="array_record").download_and_prepare()
    found = data.given.tfds("tfds:own_animals")
    assert found.name == "own_animals"
    np.testing.assert_array_equal(found.load().train.images, shown[:6])
    np.testing.assert_array_equal(found.load().test.labels, [0, 1, 2])


def test_workers_share_a_grid(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["grid", "--epochs", "2", "--widths", "8", "--optimizers", "adam", "--regularizers", "none", "--out", "g"]
    assert main([*flags, "--seeds", "2", "--worker"]) == 0
    assert not (place / "g" / "report.html").exists()
    before = {path.name: path.stat().st_mtime_ns for path in (place / "g" / "cells").glob("*/run.json")}
    assert main([*flags, "--seeds", "3"]) == 0
    assert (place / "g" / "report.html").exists()
    after = {path.parent.name: path.stat().st_mtime_ns for path in (place / "g" / "cells").glob("*/run.json")}
    assert sorted(after) == [f"adam-none-seed{seed}" for seed in range(3)]
    assert "3 of 3 cells, 1 trained here" in capsys.readouterr().out
    assert files.declared(place / "g" / "grid.json", "out")["seeds"] == [0, 1, 2]
    assert before.keys() == {"run.json"}


def test_a_notebook_without_widgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """rich warns where it can't update a table in place; the table comes in the end, and warnings are errors here."""
    monkeypatch.setattr("jaxsparse.report.table.console", lambda: Console(force_jupyter=True))
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    grid = js.Grid(MINE, net_for_two, ["sgd"], ["none"], seeds=1, epochs=1, batch=50)
    assert len(list(grid.run(tmp_path / "grid").folder.glob("cells/*/run.json"))) == 1
