"""Published data sets from tiny archives in the true formats: every image and label comes back, damage is refused."""

import gzip
import hashlib
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from jaxsparse import data
from jaxsparse.checks import InvalidInput
from jaxsparse.cli import main
from jaxsparse.data import archives, cifar, imagenet, mnist, objectnet3d, prepared, tinyimagenet
from jaxsparse.data.dataset import Arrays

Folder = Path


@dataclass(frozen=True)
class Tiny:
    """Archives of a data set, and what they hold."""

    name: str
    train: Arrays
    test: Arrays


def random(seed: int, size: int, shape: tuple[int, ...], classes: int) -> Arrays:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (size, *shape), np.uint8), generator.integers(0, classes, size)


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def tar(members: dict[str, bytes], mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, content in members.items():
            add(archive, name, content)
    return file.getvalue()


def jpeg(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "jpeg", quality=95)
    return file.getvalue()


def decoded(image: bytes) -> np.ndarray:
    """Of a JPEG file, which does not keep the pixels it was made from."""
    return np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))


def write_mnist(folder: Folder) -> Tiny:
    train, test = random(0, 7, (28, 28), 10), random(1, 3, (28, 28), 10)
    for part, (images, labels) in (("train", train), ("t10k", test)):
        content = struct.pack(">4I", 2051, len(images), 28, 28) + images.tobytes()
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(content))
        content = struct.pack(">2I", 2049, len(labels)) + labels.astype(np.uint8).tobytes()
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(content))
    return Tiny("mnist", (train[0][..., None], train[1]), (test[0][..., None], test[1]))


def records(split: Arrays, prefix: bytes = b"") -> bytes:
    """Images of a split as CIFAR's records: labels, then red, green and blue planes."""
    return b"".join(
        prefix + bytes([label]) + b"".join(image[:, :, channel].tobytes() for channel in range(3))
        for image, label in zip(*split, strict=True)
    )


def write_cifar10(folder: Folder) -> Tiny:
    parts = [random(seed, 2, (32, 32, 3), 10) for seed in range(6)]
    members = {f"cifar-10-batches-bin/data_batch_{n}.bin": records(part) for n, part in enumerate(parts[:5], 1)}
    members |= {"cifar-10-batches-bin/readme.html": b"", "cifar-10-batches-bin/test_batch.bin": records(parts[5])}
    (folder / "cifar-10-binary.tar.gz").write_bytes(tar(members, "w:gz"))
    images, labels = (np.concatenate(column) for column in zip(*parts[:5], strict=True))
    return Tiny("cifar10", (images, labels), parts[5])


def write_cifar100(folder: Folder) -> Tiny:
    train, test = random(0, 6, (32, 32, 3), 100), random(1, 4, (32, 32, 3), 100)
    members = {"cifar-100-binary/train.bin": records(train, b"\7"), "cifar-100-binary/test.bin": records(test, b"\7")}
    (folder / "cifar-100-binary.tar.gz").write_bytes(tar(members, "w:gz"))
    return Tiny("cifar100", train, test)


def write_tinyimagenet(folder: Folder) -> Tiny:
    classes = ["n03", "n01", "n02"]  # wnids.txt is not sorted; labels are
    images = [jpeg(image) for image in random(0, 9, (64, 64, 3), 1)[0]]
    grey = Image.new("L", (64, 64), 77)
    grey.save(file := io.BytesIO(), "jpeg")
    images[4] = file.getvalue()
    root = "tiny-imagenet-200"
    members: dict[str, bytes] = {f"{root}/wnids.txt": "\n".join(classes).encode(), f"{root}/words.txt": b"n01\tdog"}
    train_labels, test_labels = [2, 2, 0, 0, 1, 1], [1, 0, 2]
    for image, label in zip(images[:6], train_labels, strict=True):
        wnid = sorted(classes)[label]
        members[f"{root}/train/{wnid}/images/{wnid}_{len(members)}.JPEG"] = image
        members[f"{root}/train/{wnid}/{wnid}_boxes.txt"] = b"x"
    lines = ""
    for index, (image, label) in enumerate(zip(images[6:], test_labels, strict=True)):
        members[f"{root}/val/images/val_{index}.JPEG"] = image
        lines += f"val_{index}.JPEG\t{sorted(classes)[label]}\t0\t0\t63\t63\n"
    members |= {f"{root}/val/val_annotations.txt": lines.encode(), f"{root}/test/images/test_0.JPEG": images[0]}
    with zipfile.ZipFile(folder / "tiny-imagenet-200.zip", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    pixels = np.stack([decoded(image) for image in images])
    return Tiny("tinyimagenet", (pixels[:6], np.array(train_labels)), (pixels[6:], np.array(test_labels)))


def write_objectnet3d(folder: Folder, name: str = "objectnet3d") -> Tiny:
    train, test = [], []
    images = random(0, 7 * 30, (64, 64), 1)[0]
    for label, wanted in enumerate(objectnet3d.CLASSES):
        (folder / name / wanted).mkdir(parents=True)
        for index in range(7):
            image = images[7 * label + index]
            Image.fromarray(image).save(folder / name / wanted / f"view-{index}.png")
            (test if index == 4 else train).append((image[..., None], label))
    images = [tuple(map(np.stack, zip(*split, strict=True))) for split in (train, test)]
    return Tiny(name, images[0], images[1])


WNIDS = ("n01440764", "n02119789", "n01443537")
"""Numbered 1, 2, 3 by the kit, which is not the order of the labels."""


def write_imagenet(folder: Folder) -> Tiny:
    photographs = [jpeg(image) for image in random(0, 11, (300, 260, 3), 1)[0]]
    order = {wnid: sorted(WNIDS).index(wnid) for wnid in WNIDS}
    train_wnids, test_wnids = [*WNIDS, *WNIDS], ["n02119789", "n02119789", "n01443537", "n01440764", "n01443537"]
    inner = {
        f"{wnid}.tar": tar({f"{wnid}_{i}.JPEG": photographs[i] for i in range(6) if train_wnids[i] == wnid})
        for wnid in sorted(WNIDS)
    }
    (folder / imagenet.TRAIN.file).write_bytes(tar(inner))
    shuffled = (3, 1, 5, 2, 4)
    members = {f"ILSVRC2012_val_{n:08d}.JPEG": photographs[5 + n] for n in shuffled}
    (folder / imagenet.TEST.file).write_bytes(tar(members))
    fields = [("ILSVRC2012_ID", "f8"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "f8")]
    synsets = [*((n, wnid, "a, b", "c", 0) for n, wnid in enumerate(WNIDS, 1)), (4, "n00000001", "all", "all", 3)]
    savemat(meta := io.BytesIO(), {"synsets": np.array(synsets, fields).reshape(-1, 1)})
    truth = "\n".join(str(WNIDS.index(wnid) + 1) for wnid in test_wnids) + "\n"
    root = "ILSVRC2012_devkit_t12/data"
    kit = {f"{root}/meta.mat": meta.getvalue(), f"{root}/ILSVRC2012_validation_ground_truth.txt": truth.encode()}
    (folder / imagenet.KIT.file).write_bytes(tar({"ILSVRC2012_devkit_t12/readme.txt": b"", **kit}, "w:gz"))
    pixels = np.stack([decoded(photograph) for photograph in photographs])
    by_class = sorted(range(6), key=lambda i: (order[train_wnids[i]], i))
    train = pixels[by_class], np.array([order[train_wnids[i]] for i in by_class])
    test_order = [n - 1 for n in shuffled]
    return Tiny("imagenet", train, (pixels[6:][test_order], np.array([order[test_wnids[i]] for i in test_order])))


WRITERS: dict[str, Callable[[Folder], Tiny]] = {
    "mnist": write_mnist,
    "cifar10": write_cifar10,
    "cifar100": write_cifar100,
    "tinyimagenet": write_tinyimagenet,
    "objectnet3d": write_objectnet3d,
    "objectnet3d-cluttered": partial(write_objectnet3d, name="objectnet3d-cluttered"),
    "imagenet": write_imagenet,
}
ON_DEVICE = [name for name in WRITERS if name != "imagenet"]
WITH_ARCHIVES = [name for name in WRITERS if not name.startswith("objectnet3d")]
MODULES = {name: module for module in (mnist, cifar, tinyimagenet, objectnet3d, imagenet) for name in module.NAMES}


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAXSPARSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("JAXSPARSE_DATA", str(tmp_path / "data"))
    (tmp_path / "manual").mkdir()


def prepare(name: str, folder: Path, unverified: bool = True) -> Path:
    return data.prepare(name, folder / "manual", folder / "data", unverified)


def publish(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the tiny archives the official ones."""
    module = MODULES[name]
    official = tuple(
        replace(archive, checksum="sha256:" + hashlib.sha256((folder / archive.file).read_bytes()).hexdigest())
        for archive in module.archives(name)
    )
    monkeypatch.setattr(module, "archives", lambda name: official)


EMBEDDED = {"digits", "cluttered-digits", "paired-digits", "shapes", "mnist-5k"}


def test_every_published_set_is_tested() -> None:
    assert set(WRITERS) == set(MODULES) == set(data.names()) - EMBEDDED


@pytest.mark.parametrize("name", ON_DEVICE)
def test_images_and_labels_come_back(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = WRITERS[name](tmp_path / "manual")
    prepare(name, tmp_path)
    for _ in range(2):  # from TFDS, then from the cache
        found = data.load(name)
        for ours, (images, labels) in ((found.train, tiny.train), (found.test, tiny.test)):
            np.testing.assert_array_equal(ours.images, images)
            np.testing.assert_array_equal(ours.labels, labels)
        monkeypatch.setattr(prepared, "_tfds", None)
    described = data.describe(name)
    assert found.description == described
    assert (described.train_size, described.test_size) == (len(tiny.train[1]), len(tiny.test[1]))
    assert described.shape == tiny.train[0].shape[1:]


def test_imagenet_comes_back(tmp_path: Path) -> None:
    tiny = write_imagenet(tmp_path / "manual")
    prepare("imagenet", tmp_path)
    for split, (images, labels) in (("train", tiny.train), ("test", tiny.test)):
        found = list(prepared.source("imagenet", split))
        assert [int(example["label"]) for example in found] == labels.tolist()
        for example, image in zip(found, images, strict=True):
            np.testing.assert_array_equal(prepared.pixels(example["image"], 3), image)
    with pytest.raises(InvalidInput, match="data must be a set that fits on a device"):
        data.load("imagenet")


@pytest.mark.parametrize("name", WITH_ARCHIVES)
def test_official_archives_are_verified_and_others_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WRITERS[name](tmp_path / "manual")
    with pytest.raises(InvalidInput, match="must be the official archive"):
        prepare(name, tmp_path, unverified=False)
    assert not data.is_ready(name)
    prepare(name, tmp_path)
    assert not data.describe(name).verified
    publish(name, tmp_path / "manual", monkeypatch)
    prepare(name, tmp_path, unverified=False)
    assert data.describe(name).verified


@pytest.mark.parametrize("name", WITH_ARCHIVES)
def test_missing_archives(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / "manual")
    for archive in MODULES[name].archives(name):
        path = tmp_path / "manual" / archive.file
        path.rename(tmp_path / "away")
        with pytest.raises(InvalidInput, match=f"manual-dir must be a folder with {archive.file}") as refusal:
            prepare(name, tmp_path)
        assert "\n" not in str(refusal.value)
        (tmp_path / "away").rename(path)
    assert not (tmp_path / "data").exists(), "refused before anything is written"


@pytest.mark.parametrize("name", WITH_ARCHIVES)
def test_truncated_archives(name: str, tmp_path: Path) -> None:
    """Even where other archives than the official ones are allowed."""
    WRITERS[name](tmp_path / "manual")
    for archive in MODULES[name].archives(name):
        path = tmp_path / "manual" / archive.file
        whole = path.read_bytes()
        for length in (0, 10, len(whole) // 2):
            path.write_bytes(whole[:length])
            with pytest.raises(InvalidInput, match="must be") as refusal:
                prepare(name, tmp_path)
            assert "\n" not in str(refusal.value)
        path.write_bytes(whole)
    assert not data.is_ready(name)
    assert not (tmp_path / "data" / name).exists()


@pytest.mark.parametrize("name", WITH_ARCHIVES)
def test_altered_archives(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WRITERS[name](tmp_path / "manual")
    publish(name, tmp_path / "manual", monkeypatch)
    path = tmp_path / "manual" / MODULES[name].archives(name)[-1].file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=f"{path.name} must be the official archive"):
        prepare(name, tmp_path, unverified=False)


def test_wrong_contents(tmp_path: Path) -> None:
    write_mnist(tmp_path / "manual")
    images, labels = (tmp_path / "manual" / f"train-{part}-ubyte.gz" for part in ("images-idx3", "labels-idx1"))
    labels.write_bytes(images.read_bytes())
    with pytest.raises(InvalidInput, match=r"train-labels-idx1-ubyte.gz must be an idx file with 1 dimensions"):
        prepare("mnist", tmp_path)
    labels.write_bytes(gzip.compress(struct.pack(">2I", 2049, 7) + bytes([10] * 7)))
    with pytest.raises(InvalidInput, match="label must be a whole number from 0 to 9, got 10"):
        prepare("mnist", tmp_path)
    write_objectnet3d(tmp_path / "manual")
    Image.new("L", (64, 32)).save(tmp_path / "manual/objectnet3d/tub/view-0.png")
    with pytest.raises(InvalidInput, match=r"tub/view-0.png must be 64x64 pixels"):
        prepare("objectnet3d", tmp_path)
    (tmp_path / "manual/objectnet3d/tub/view-0.png").write_bytes(b"no picture")
    with pytest.raises(InvalidInput, match=r"view-0.png must be a readable image of at most \d+ pixels: its format"):
        prepare("objectnet3d", tmp_path)
    with pytest.raises(InvalidInput, match=r"aeroplane.*\*.png"):
        prepare("objectnet3d-cluttered", tmp_path)
    assert not data.is_ready("mnist")


def test_hostile_members_stay_inside(tmp_path: Path) -> None:
    """Members that point elsewhere are neither unpacked nor followed."""
    write_cifar100(tmp_path / "manual")
    path = tmp_path / "manual" / "cifar-100-binary.tar.gz"
    with tarfile.open(path) as whole:
        members = {member.name: whole.extractfile(member).read() for member in whole}  # type: ignore[union-attr]
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        add(archive, "../escaped", b"evil")
        add(archive, str(tmp_path / "absolute"), b"evil")
        link = tarfile.TarInfo("cifar-100-binary/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        for name, content in members.items():
            add(archive, name, content)
    path.write_bytes(file.getvalue())
    before = {found for found in tmp_path.rglob("*") if "data" not in found.parts}
    prepare("cifar100", tmp_path)
    assert len(data.load("cifar100").test) == 4
    after = {found for found in tmp_path.rglob("*") if "data" not in found.parts}
    assert {found.name for found in after - before} <= {"cache", *(p.name for p in (tmp_path / "cache").iterdir())}
    write_tinyimagenet(tmp_path / "manual")
    with zipfile.ZipFile(tmp_path / "manual" / "tiny-imagenet-200.zip", "a") as archive:
        archive.writestr("../../escaped", b"evil")
        archive.writestr("tiny-imagenet-200/train/../../escaped/images/x_0.JPEG", b"evil")
    prepare("tinyimagenet", tmp_path)
    assert not list(tmp_path.parent.glob("**/escaped"))
    assert data.describe("tinyimagenet").train_size == 6
    write_imagenet(tmp_path / "manual")
    (tmp_path / "manual" / imagenet.TRAIN.file).write_bytes(tar({"../n01440764.tar": b"evil"}))
    with pytest.raises(InvalidInput, match="made of one tar per class"):
        prepare("imagenet", tmp_path)


def test_prepared_again_after_a_change(tmp_path: Path) -> None:
    """The cache follows the prepared set."""
    write_mnist(tmp_path / "manual")
    prepare("mnist", tmp_path)
    data.load("mnist")
    images = tmp_path / "manual" / "train-images-idx3-ubyte.gz"
    content = bytearray(gzip.decompress(images.read_bytes()))
    content[16] ^= 255
    images.write_bytes(gzip.compress(content))
    prepare("mnist", tmp_path)
    assert int(data.load("mnist").train.images[0, 0, 0, 0]) == content[16]
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["mnist"]


@pytest.mark.parametrize("damage", ["truncated", "altered", "missing", "no information", "no marker"])
def test_damage_after_preparation(damage: str, tmp_path: Path) -> None:
    write_mnist(tmp_path / "manual")
    folder = prepare("mnist", tmp_path)
    (examples,) = folder.glob("*train.array_record*")
    content = examples.read_bytes()
    if damage == "truncated":
        examples.write_bytes(content[: len(content) // 2])
    elif damage == "altered":
        place = content.index(b"\x89PNG") + 60  # within the first image
        examples.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    elif damage == "missing":
        examples.unlink()
    else:
        name = "prepared.json" if damage == "no marker" else "dataset_info.json"
        (folder / name).write_text("{")
    with pytest.raises(InvalidInput, match=r"data must be prepared .*: jaxsparse data prepare mnist") as refusal:
        data.load("mnist")
    assert "\n" not in str(refusal.value)


class Answer(io.BytesIO):
    """What a server sends."""

    @property
    def headers(self) -> dict[str, str]:
        return {"Content-Length": str(len(self.getvalue()))}


def test_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path / "manual")
    publish("mnist", tmp_path / "manual", monkeypatch)
    asked = []

    def urlopen(url: str, timeout: float) -> Answer:
        asked.append(url)
        return Answer((tmp_path / "manual" / url.rsplit("/", 1)[1]).read_bytes())

    monkeypatch.setattr(archives.urllib.request, "urlopen", urlopen)
    for _ in range(2):
        data.prepare("mnist", None, tmp_path / "data", unverified=False)
        assert len(asked) == 4, "once downloaded is enough"
    assert data.describe("mnist").verified
    publish("mnist", tmp_path / "manual", monkeypatch)
    first = tmp_path / "data" / "downloads" / "train-images-idx3-ubyte.gz"
    whole = first.read_bytes()
    first.write_bytes(whole[:-1])
    with pytest.raises(InvalidInput, match=r"train-images-idx3-ubyte.gz must be the official archive"):
        data.prepare("mnist", None, tmp_path / "data", unverified=False)
    data.prepare("mnist", None, tmp_path / "data", unverified=False)
    assert first.read_bytes() == whole, "what is not the official file is downloaded again"


def test_no_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def urlopen(url: str, timeout: float) -> Answer:
        raise OSError("no network")

    monkeypatch.setattr(archives.urllib.request, "urlopen", urlopen)
    for name in ("mnist", "cifar10", "cifar100"):
        with pytest.raises(
            InvalidInput, match=r"manual-dir must be a folder with .* can't be downloaded \(no network\)"
        ):
            data.prepare(name, None, tmp_path / "data", unverified=False)
    for name in ("tinyimagenet", "imagenet", "objectnet3d"):
        with pytest.raises(InvalidInput, match="manual-dir must be a folder with"):
            data.prepare(name, None, tmp_path / "elsewhere", unverified=False)
    assert not (tmp_path / "elsewhere").exists()
    assert not list((tmp_path / "data").rglob("*.partial"))


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path / "manual")
    monkeypatch.setitem(__import__("sys").modules, "tensorflow_datasets", None)
    with pytest.raises(InvalidInput, match=r"pip install 'jaxsparse\[data\]'"):
        prepare("mnist", tmp_path)


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    train = ["train", "--data", "mnist", "--epochs", "2", "--batch", "3", "--widths", "4", "--measure-every", "1"]
    assert main([*train, "--out", "run"]) == 2
    assert capsys.readouterr().err == "jaxsparse: data must be prepared first: jaxsparse data prepare mnist\n"
    assert not (tmp_path / "run").exists()
    write_mnist(tmp_path / "manual")
    assert main(["data", "prepare", "mnist", "--manual-dir", "manual"]) == 2
    refusal = capsys.readouterr().err
    assert refusal.startswith("jaxsparse: train-images-idx3-ubyte.gz")
    assert refusal.count("\n") == 1
    assert main(["data", "prepare", "mnist", "--manual-dir", "manual", "--unverified"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'data' / 'mnist'}\n"
    assert main(["data", "info", "mnist"]) == 0
    told = capsys.readouterr().out
    assert "verified    False" in told
    assert "train_size  7" in told
    assert main([*train, "--out", "run"]) == 0
    (run,) = (tmp_path / "run" / "cells").glob("*/run.json")
    assert json.loads(run.read_text())["data_verified"] is False
    assert main(["grid", "--data", "imagenet", "--out", "other"]) == 2
    assert "data must be prepared first: jaxsparse data prepare imagenet" in capsys.readouterr().err
    assert main(["data", "prepare", "digits"]) == 2


def test_embedded_data_are_verified() -> None:
    assert all(data.describe(name).verified for name in data.names())


def training_batches(**options: int) -> list[dict[str, np.ndarray]]:
    return list(imagenet.training_batches(2, threads=2, **options))


def test_imagenet_batches_in_order(tmp_path: Path) -> None:
    tiny = write_imagenet(tmp_path / "manual")
    prepare("imagenet", tmp_path)
    for split, (images, labels), sizes in (("train", tiny.train, [4, 2]), ("test", tiny.test, [4, 1])):
        found = list(imagenet.batches(split, 4, threads=2))
        assert [len(batch["label"]) for batch in found] == sizes
        np.testing.assert_array_equal(np.concatenate([batch["label"] for batch in found]), labels)
        resized = [np.asarray(Image.fromarray(image).resize((256, 256), Image.Resampling.BILINEAR)) for image in images]
        np.testing.assert_array_equal(
            np.concatenate([batch["image"] for batch in found]), np.stack(resized)[:, 16:240, 16:240]
        )


def test_imagenet_training_batches(tmp_path: Path) -> None:
    """Every image of an epoch once, in another order in the next, as a crop or its mirror image."""
    tiny = write_imagenet(tmp_path / "manual")
    prepare("imagenet", tmp_path)
    resized = [
        np.asarray(Image.fromarray(image).resize((256, 256), Image.Resampling.BILINEAR)) for image in tiny.train[0]
    ]
    orders, mirrored, places = [], [], []
    for batch in training_batches(epochs=6):
        for view, label in zip(batch["image"], batch["label"], strict=True):
            index, mirror, place = where(view, resized)
            assert tiny.train[1][index] == label
            orders.append(index)
            mirrored.append(mirror)
            places.append(place)
    epochs = np.array(orders).reshape(6, 6)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(6), (6, 1)))
    assert len({tuple(epoch) for epoch in epochs}) >= 5
    assert 6 < sum(mirrored) < 30  # binomial(36, 1/2): 4 deviations
    assert len(set(places)) > 30


def where(view: np.ndarray, images: list[np.ndarray]) -> tuple[int, bool, tuple[int, int]]:
    """Which image a crop is from, whether it is mirrored, and its corner; by its first row's first pixels."""
    for mirror in (False, True):
        crop = view[:, ::-1] if mirror else view
        for index, image in enumerate(images):
            corners = np.lib.stride_tricks.sliding_window_view(image[:33, :64], (1, 32), (0, 1))[:, :33]
            same = (corners == crop[:1, :32].transpose(2, 0, 1)).all((-3, -2, -1))
            for top, left in zip(*np.nonzero(same), strict=True):
                if np.array_equal(image[top : top + 224, left : left + 224], crop):
                    return index, mirror, (int(top), int(left))
    raise AssertionError("no crop of any image")


@pytest.mark.parametrize("stop", [0, 1, 4, 7])
def test_imagenet_resumes_exactly(stop: int, tmp_path: Path) -> None:
    write_imagenet(tmp_path / "manual")
    prepare("imagenet", tmp_path)
    whole = training_batches(seed=3, epochs=3)
    assert len(whole) == 9
    iterator = iter(imagenet.training_batches(2, seed=3, epochs=3, threads=2))
    for _ in range(stop):
        next(iterator)
    state = json.loads(json.dumps(iterator.get_state()))
    resumed = iter(imagenet.training_batches(2, seed=3, epochs=3, threads=2))
    resumed.set_state(state)
    rest = list(resumed)
    assert len(rest) == len(whole) - stop
    jax.tree.map(np.testing.assert_array_equal, rest, whole[stop:])
    other = training_batches(seed=4, epochs=3)
    assert not all(np.array_equal(a["image"], b["image"]) for a, b in zip(whole, other, strict=True))
