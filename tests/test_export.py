"""Files of networks: what comes back computes the same, in our format, ONNX, StableHLO, and from PyTorch."""

import importlib
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import jaxsparse as js
from jaxsparse import data, export, records
from jaxsparse.cli import main
from jaxsparse.config import Run
from jaxsparse.export import Card
from jaxsparse.shrinking import replace_arrays
from jaxsparse.trees import flatten

RECORDED = Path(__file__).parent / "recorded"
WIDTHS = {
    "mlp": (6, 5),
    "basicnet": (6, 5, 4),
    "vgg-11": (4, 5, 6, 6, 7, 7, 8, 8),
    "wrn-16-8": (3, 4, 5, 4, 5, 6, 7, 6, 7, 8, 9, 8, 9),
}


def cards(model: str) -> Card:
    return Card(model, (16, 12, 2), 3, WIDTHS[model], activation="leaky-relu", slope=0.2, mean=(1.5, 2.5))


def network(card: Card) -> js.models.Network:
    """With random parameters and statistics; all but the kernels are positive."""
    made = nnx.eval_shape(
        lambda: js.models.build(
            card.model,
            shape=card.shape,
            classes=card.classes,
            widths=card.built,
            activation=js.models.activation_of(Run(activation=card.activation, slope=card.slope)),
            rngs=nnx.Rngs(0),
        )
    )
    random = np.random.default_rng(0)
    arrays = {name: random.uniform(0.1, 1, leaf.shape) for name, leaf in flatten(nnx.state(made)).items()}
    kernels = {name: array - 0.55 for name, array in arrays.items() if name.endswith("kernel")}
    made = replace_arrays(made, {name: jnp.asarray(array, jnp.float32) for name, array in (arrays | kernels).items()})
    made.eval()
    return made


def images(card: Card, count: int) -> jax.Array:
    return jax.random.normal(jax.random.key(1), (count, *card.shape))


def logits(model: js.models.Network, x: jax.Array) -> jax.Array:
    return jax.jit(lambda x: model(x))(x)


def equal(ours: js.models.Network, theirs: js.models.Network, shape: tuple[int, ...]) -> None:
    """The same program on the same arrays, bit by bit, without the time to compile either."""
    x = jax.ShapeDtypeStruct((3, *shape), jnp.float32)
    programs = [jax.jit(lambda x, model=model: model(x)).lower(x).as_text() for model in (ours, theirs)]
    assert programs[0] == programs[1]
    jax.tree.map(np.testing.assert_array_equal, nnx.state(ours), nnx.state(theirs))


def close(ours: object, theirs: object) -> None:
    """Equal up to float32's rounding in another order."""
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=0, atol=2e-5 * abs(np.asarray(theirs)).max())


def digits_network(model: str) -> js.models.Network:
    """With a dead unit."""
    made = network(Card(model, (8, 8, 1), 10, (6, 5), activation="leaky-relu", slope=0.3))
    layer = (made.hidden if model == "mlp" else made.convolutions)[0]
    layer.norm.scale[1] = 0.0
    return made


def write_run(folder: Path, model: str = "mlp", status: str = "done") -> Path:
    """A run that ended with the `digits_network`."""
    made = digits_network(model)
    arrays = {name: np.asarray(leaf) for name, leaf in flatten(nnx.state(made)).items()}
    settings = {"regularizer": "l2", "strength": 1e-3, "seed": 0, "learning_rate": 1e-3, "constants": {}}
    run = Run(model=model, width=0.5, widths=(12, 10), activation="leaky-relu", slope=0.3, epochs=1, measure_every=1)
    history = {"epochs": [1], "test_error": [90.0]}
    return records.write(records.Record("run", run, settings, status, "", 1.0, history, arrays), folder)


@pytest.mark.parametrize("model", list(WIDTHS))
def test_round_trip(model: str, tmp_path: Path) -> None:
    card = cards(model)
    made = network(card)
    (path,) = js.save(tmp_path / "new" / "net.safetensors", made, card)
    for source in (path, path.parent, str(path)):
        loaded, read = export.read(source)
        equal(loaded, made, card.shape)
        assert read == card


@pytest.mark.parametrize("model", ["mlp", "basicnet"])
def test_command(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights, names, widths and how to feed them, without the run."""
    run = write_run(tmp_path / "training" / "cells", model)
    made, dataset = digits_network(model), data.load("digits")
    equal(js.load(run), made, (8, 8, 1))
    assert main(["export", str(tmp_path / "training"), "--out", str(tmp_path)]) == 0
    path = tmp_path / "run.safetensors"
    assert capsys.readouterr().out.strip() == str(path)
    described = records.describe(run)
    shutil.rmtree(tmp_path / "training")
    equal(js.load(path), made, (8, 8, 1))
    with safe_open(path, "numpy") as file:
        metadata = {name: json.loads(text) for name, text in file.metadata().items()}
        assert set(file.keys()) == set(flatten(nnx.state(made)))
    layers = "hidden" if model == "mlp" else "convolutions"
    hidden = {} if model == "mlp" else {"hidden/0": 256}
    assert metadata["widths"] == {f"{layers}/0": 6, f"{layers}/1": 5, **hidden, "head": 10}
    assert (metadata["model"], metadata["shape"], metadata["classes"]) == (model, [8, 8, 1], 10)
    assert metadata["run"] == described
    pixels = np.asarray(dataset.train.images, float)
    np.testing.assert_allclose([*metadata["mean"], *metadata["deviation"]], [pixels.mean(), pixels.std()], rtol=1e-5)


def test_shrunk(tmp_path: Path) -> None:
    """A shrunk folder exports too, and its export again."""
    run = write_run(tmp_path)
    made = js.load(run)
    smaller, _ = js.shrink(made, jnp.ones((2, 8, 8, 1)))
    arrays = {name: np.asarray(leaf) for name, leaf in flatten(nnx.state(smaller)).items()}
    assert arrays["hidden/0/linear/kernel"].shape == (64, 5)
    records.write_network(run, {**records.describe(run), "shrunk": {}}, arrays)
    assert main(["export", str(run)]) == 0
    assert main(["export", str(tmp_path / "run.safetensors"), "--out", str(tmp_path / "again.safetensors")]) == 0
    assert export.read(tmp_path / "again.safetensors")[1] == export.read(tmp_path / "run.safetensors")[1]
    equal(js.load(tmp_path / "again.safetensors"), smaller, (8, 8, 1))


@pytest.mark.parametrize("model", list(WIDTHS))
def test_stablehlo(model: str, tmp_path: Path) -> None:
    pytest.importorskip("flatbuffers")
    card = cards(model)
    made = network(card)
    path, described = js.save(tmp_path / "net.stablehlo", made, card)
    loaded = jax.export.deserialize(bytearray(path.read_bytes()))
    assert {"cpu", "cuda", "tpu"} <= set(loaded.platforms)
    for count in (1, 7):
        close(loaded.call(images(card, count)), logits(made, images(card, count)))
    assert json.loads(described.read_text())["mean"] == [1.5, 2.5]


@pytest.mark.parametrize(("model", "activation"), [*((model, "leaky-relu") for model in WIDTHS), ("mlp", "elu")])
def test_onnx(model: str, activation: str, tmp_path: Path) -> None:
    pytest.importorskip("jax2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    card = replace(cards(model), activation=activation)
    made = network(card)
    (path,) = js.save(tmp_path / "net.onnx", made, card)
    session = onnxruntime.InferenceSession(path)
    for count in (1, 7):
        (theirs,) = session.run(["logits"], {"images": np.asarray(images(card, count))})
        close(theirs, logits(made, images(card, count)))
    assert Card.of_metadata(session.get_modelmeta().custom_metadata_map) == card


def test_empty_layer(tmp_path: Path) -> None:
    """Every unit of a layer may be dead and gone."""
    card = replace(cards("basicnet"), built=(6, 0, 4))
    made = network(card)
    js.save(tmp_path / "net.safetensors", made, card)
    equal(js.load(tmp_path), made, card.shape)
    with pytest.raises(js.InvalidInput, match="layer of no units"):
        js.save(tmp_path / "net.onnx", made, card)


class Onnx:
    """Stands in for jax2onnx, the file that it makes, and onnx's check of it."""

    def __init__(self, unknown: str = "", invalid: str = ""):
        self.unknown, self.invalid = unknown, invalid
        self.graph = SimpleNamespace(value_info=["a wrong shape"])
        self.metadata_props = SimpleNamespace(add=SimpleNamespace)
        self.checker = self

    def to_onnx(self, *_: Any, **settings: Any) -> Any:
        assert (settings["input_names"], settings["output_names"]) == (["images"], ["logits"])
        if self.unknown:
            raise NotImplementedError(self.unknown)
        return self

    def check_model(self, converted: Any, full_check: bool) -> None:
        assert full_check
        assert converted.graph.value_info == []
        if self.invalid:
            raise ValueError(self.invalid)

    def SerializeToString(self) -> bytes:
        return b"network"


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (Onnx(unknown="No plugin\n for erf_inv"), "jax2onnx says NotImplementedError: No plugin for erf_inv"),
        (Onnx(invalid="shapes differ"), "jax2onnx says ValueError: shapes differ"),
        (Onnx(), None),
    ],
)
def test_onnx_that_is_not_possible(
    theirs: Onnx, said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line for what can't be converted, or is not valid when it is; nothing is written."""
    for module in ("jax2onnx", "onnx"):
        monkeypatch.setitem(sys.modules, module, cast(Any, theirs))
    card = cards("mlp")
    if said is None:
        (path,) = js.save(tmp_path / "net.onnx", network(card), card)
        assert path.read_bytes() == b"network"
        return
    with pytest.raises(js.InvalidInput) as caught:
        js.save(tmp_path / "net.onnx", network(card), card)
    assert str(caught.value) == f"format onnx is not possible for this network, {said}"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("format", "module"), [("onnx", "jax2onnx"), ("stablehlo", "flatbuffers")])
def test_missing_extra(
    format: str,
    module: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["export", str(write_run(tmp_path)), "--format", format]) == 2
    message = capsys.readouterr().err.strip()
    assert message == (
        f"jaxsparse: format {format} needs {module}, which is not installed: pip install 'jaxsparse[export]'"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--format", "pickle"], "format must be one of safetensors onnx stablehlo, got 'pickle'"),
        (["run", "--out", "net.onnx"], "out must be a .safetensors file or a folder"),
        (["run", "--out", "there.safetensors"], "out must be a file that is not there yet"),
        (["."], "run must be the folder of a run"),
        (["failed/run"], "run must be one that did not fail"),
        (["there.safetensors"], "file must be a readable .safetensors file"),
        (["other.safetensors"], "file must be one that `jaxsparse export` wrote"),
    ],
)
def test_bad_input(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_run(tmp_path)
    write_run(tmp_path / "failed", status="failed")
    (tmp_path / "there.safetensors").write_text("theirs")
    save_file({"x": np.ones(1)}, tmp_path / "other.safetensors")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    assert main(["export", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


RECORDINGS = {"torchvision": 64, "slimming": 32}


@pytest.mark.parametrize("layout", list(RECORDINGS))
def test_recorded_torch(layout: str, tmp_path: Path) -> None:
    """PyTorch's logits; again from a file; and with its dead units removed."""
    side = RECORDINGS[layout]
    made, card = js.from_torch(RECORDED / f"vgg-{layout}.safetensors", "vgg-11", shape=(side, side, 3))
    recorded = np.load(RECORDED / f"vgg-{layout}.npz")
    x = jnp.asarray(recorded["images"].transpose(0, 2, 3, 1) / 255, jnp.float32)
    close(logits(made, x), recorded["logits"])
    smaller, report = js.shrink(made, x, borders=js.shrinking.Borders.MAP)
    assert sum(report.removed.values()) >= 5
    close(logits(smaller, x), recorded["logits"])
    js.save(tmp_path / "smaller.safetensors", smaller, card)
    equal(js.load(tmp_path / "smaller.safetensors"), smaller, card.shape)


@pytest.mark.parametrize(
    ("depth", "options", "shape"),
    [
        (11, {}, (224, 224, 3)),  # 7x7 pixels are left
        (16, {}, (40, 72, 3)),  # 1x2 pixels
        (19, {"averaged": False}, (32, 32, 3)),
        (11, {"norm": False}, (32, 32, 3)),
        (19, {"slimming": True}, (32, 32, 3)),
    ],
)
def test_live_torch(depth: int, options: dict[str, bool], shape: tuple[int, int, int], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    save = importlib.import_module("safetensors.torch").save_file
    recording = importlib.import_module("tests.recorded.record_vgg")
    theirs = recording.network(depth, **options)
    save(theirs.state_dict(), tmp_path / "theirs.safetensors")
    ours, _ = js.from_torch(tmp_path / "theirs.safetensors", f"vgg-{depth}", shape=shape)
    pixels = recording.images(*shape[:2])
    x = jnp.asarray(pixels.transpose(0, 2, 3, 1) / 255, jnp.float32)
    close(logits(ours, x), recording.logits(theirs, pixels))


@pytest.mark.parametrize(
    ("change", "model", "shape", "message"),
    [
        ({}, "vgg-13", (64, 64, 3), "model must be one of vgg-11 vgg-16 vgg-19"),
        ({}, "vgg-16", (64, 64, 3), "the network of the file, which has 8 convolutions"),
        ({}, "vgg-11", (16, 16, 3), "shape must be images of which 49 pixels are left after 5 max-pools"),
        ({}, "vgg-11", (64, 64, 1), "convolution 0 must be 3x3 of 1 channels"),
        ({"features.25.": "features.31.", "features.26.": "features.32."}, "vgg-11", (64, 64, 3), "at distances"),
        ({"features.0.": "encoder.0."}, "vgg-11", (64, 64, 3), "got 'encoder.0.bias'"),
        ({"features.1.running_var": None}, "vgg-11", (64, 64, 3), "features.1 must be"),
        ({"classifier.3.weight": None}, "vgg-11", (64, 64, 3), "classifier.3 must be a convolution or a dense layer"),
        ({"classifier.": None}, "vgg-11", (64, 64, 3), "file must be with features (or feature) and classifier"),
    ],
)
def test_bad_torch(
    change: dict[str, str | None], model: str, shape: tuple[int, int, int], message: str, tmp_path: Path
) -> None:
    arrays = dict(sorted(load_file(RECORDED / "vgg-torchvision.safetensors").items()))
    for old, new in change.items():
        moved = {name: arrays.pop(name) for name in list(arrays) if name.startswith(old)}
        assert moved
        arrays |= {} if new is None else {name.replace(old, new): array for name, array in moved.items()}
    save_file(arrays, tmp_path / "theirs.safetensors")
    with pytest.raises(js.InvalidInput) as caught:
        js.from_torch(tmp_path / "theirs.safetensors", model, shape=shape)
    assert message in str(caught.value)
