"""VGG and ResNet networks that PyTorch has trained, from their `state_dict` or a file of it.

A ResNet-50 is one of torchvision's layout. Of VGG two are known:

| layout           | convolutions | after the last one                                   | dense layers   |
|------------------|--------------|------------------------------------------------------|----------------|
| torchvision      | `features`   | a max-pool, then an average to 7x7 pixels or nothing | `classifier.N` |
| network slimming | `feature`    | an average over 2x2 pixels                           | `classifier`   |

(Network slimming: Liu et al. 2017, in its authors' PyTorch code.) Each layer is followed by ReLU, but the last; each
may have a batch normalisation, whose epsilon is 1e-5. What differs here, and how the weights absorb it exactly:

- Images are [N, H, W, C] and kernels [H, W, C, D], there [N, C, H, W] and [D, C, H, W]; dense kernels are [inputs,
  outputs], there [outputs, inputs]. So a flattened image has its channels last here, first there.
- Layers have no bias here: theirs is subtracted from the running mean. A layer without normalisation gets one that
  only adds the bias.
- The average to 7x7 pixels is linear: it goes into the dense layer behind it. At 224x224 it is none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np

from jaxsparse import models
from jaxsparse.checks import InvalidInput, require, require_choice
from jaxsparse.export import state_dict
from jaxsparse.export.card import Card
from jaxsparse.export.state_dict import Source
from jaxsparse.models import resnet
from jaxsparse.models.block import LARGE
from jaxsparse.models.vgg import GROUPS

EPSILON = 1e-5
"""Of the batch normalisations, in PyTorch and here."""
SIDE = 7
"""Pixels along a side of what torchvision's networks average to."""

_NAME = re.compile(r"(?:module\.)?(features?|classifier)(?:\.(\d+))?\.(\w+)")
_DEPTHS = {f"vgg-{depth}": depth for depth in GROUPS}


class _Layer(NamedTuple):
    """A convolution or dense layer, and the normalisation behind it if there is one."""

    position: int
    """in its `Sequential`"""
    weight: np.ndarray
    """`[outputs, inputs, ..]`"""
    bias: np.ndarray
    norm: Mapping[str, np.ndarray] | None

    def block(self, kernel: np.ndarray) -> dict[str, np.ndarray]:
        """The arrays of a block of ours that computes the same, with this kernel `[.., inputs, outputs]`."""
        zeros, ones = np.zeros_like(self.bias), np.ones_like(self.bias)
        if self.norm is None:
            scale, shift, mean, variance = ones, self.bias, zeros, ones - EPSILON
        else:
            scale, shift = self.norm.get("weight", ones), self.norm.get("bias", zeros)
            mean, variance = self.norm["running_mean"] - self.bias, self.norm["running_var"]
        return {
            "linear/kernel": kernel,
            "norm/scale": scale,
            "norm/bias": shift,
            "norm/mean": mean,
            "norm/var": variance,
        }


def from_torch(
    source: Source,
    model: str,
    *,
    shape: tuple[int, int, int],
    mean: tuple[float, ...] = (),
    deviation: tuple[float, ...] = (),
) -> tuple[models.Network, Card]:
    """A network that PyTorch has trained: the same logits for the same images, up to float32's rounding.

        network, card = js.from_torch("vgg16_bn.pth", "vgg-16", shape=(224, 224, 3))
        smaller, report = js.shrink(network, example)
        js.save("smaller.safetensors", smaller, card)

    A network of your own that is written in both goes by `js.load("mine.pth", like=model)`.

    Args:
      source: its `state_dict` in one of the layouts that the module names, or a file of it: `.safetensors`, or `.pth`,
        which needs PyTorch (`weights_only=True`: nothing in it is run).
      model: `vgg-11`, `vgg-16`, `vgg-19` or `resnet-50`; widths are those of the file.
      shape: of the images, height, width, channels.
      mean, deviation: per channel, of pixels from 0 to 255, for the card; the file does not have them.

    Returns:
      The network in evaluation mode, images `[n, height, width, channels]` to logits, and its card.

    Raises:
      InvalidInput: for a file that is no such network, or images that do not fit it.

    Example:
      The `state_dict` is of a VGG-11 with 4 channels everywhere, each of which averages those before it:

      >>> import jax.numpy as jnp
      >>> import numpy as np
      >>> import jaxsparse as js
      >>> def average(inputs):
      ...     return np.pad(np.full((4, inputs, 1, 1), 1 / inputs), ((0, 0), (0, 0), (1, 1), (1, 1)))
      >>> theirs = {f"features.{place}.weight": average(4 if place else 3) for place in (0, 3, 6, 8, 11, 13, 16, 18)}
      >>> theirs["classifier.0.weight"] = np.array([[1.0] * 4, [2.0] * 4])
      >>> network, card = js.from_torch(theirs, "vgg-11", shape=(32, 32, 3))
      >>> print(network(jnp.ones((1, 32, 32, 3))).round(3), card.built)
      [[4. 8.]] (4, 4, 4, 4, 4, 4, 4, 4)
    """
    require_choice("model", model, (*_DEPTHS, "resnet-50"))
    given = state_dict.arrays_of(source)
    arrays, card = _resnet(given, shape) if model == "resnet-50" else _vgg(given, model, shape)
    card = replace(card, mean=mean, deviation=deviation)
    return card.network(arrays), card


def _vgg(
    given: Mapping[str, np.ndarray], model: str, shape: tuple[int, int, int]
) -> tuple[dict[str, np.ndarray], Card]:
    """The arrays of our network, and its card."""
    parts = _parts(given)
    slimming = "feature" in parts
    convolutions, dense = parts["feature" if slimming else "features"], parts["classifier"]
    ends = tuple(accumulate(GROUPS[_DEPTHS[model]]))
    pooled = ends[:-1] if slimming else ends
    _check(convolutions, dense, model, ends, shape[-1])

    height, width = (side >> len(pooled) for side in shape[:2])
    channels, inputs = len(convolutions[-1].weight), dense[0].weight.shape[1]
    if slimming:
        fits, wanted = (height, width) == (2, 2) and inputs == channels, "32x32 images, as network slimming has them"
    else:
        fits = height > 0 < width and inputs in (channels * height * width, channels * SIDE**2)
        wanted = f"images of which {inputs / channels:g} pixels are left after {len(pooled)} max-pools"
    require(fits, "shape", shape, wanted)

    arrays = {}
    for number, layer in enumerate(convolutions):
        arrays |= _under(f"convolutions/{number}", layer.block(layer.weight.transpose(2, 3, 1, 0)))
    kernels = [layer.weight.T for layer in dense]
    if not slimming:
        kernels[0] = _flattened(dense[0].weight, channels, height, width)
    for number, layer in enumerate(dense[:-1]):
        arrays |= _under(f"hidden/{number}", layer.block(kernels[number]))
    arrays |= _under("head", {"kernel": kernels[-1], "bias": dense[-1].bias})

    card = Card(
        model=model,
        shape=shape,
        classes=len(dense[-1].weight),
        built=tuple(len(layer.weight) for layer in convolutions),
        head=tuple(len(layer.weight) for layer in dense[:-1]),
        pooled=pooled,
        flatten=not slimming,
    )
    return arrays, card


def _resnet(given: Mapping[str, np.ndarray], shape: tuple[int, int, int]) -> tuple[dict[str, np.ndarray], Card]:
    """The arrays of our network, and its card."""
    left = {name.removeprefix("module."): array for name, array in given.items()}
    arrays: dict[str, np.ndarray] = {}

    def taken(name: str, axes: int) -> np.ndarray:
        found = left.pop(name, np.zeros(()))
        require(found.ndim == axes, name, list(found.shape), f"an array of {axes} axes, as in torchvision's resnet50")
        return found.astype(np.float32)

    def put(conv: str, norm: str, kernel: str, ours: str) -> int:
        """A convolution and its normalisation; its units."""
        weight = taken(f"{conv}.weight", 4)
        arrays[kernel] = np.ascontiguousarray(weight.transpose(2, 3, 1, 0))
        for theirs, name in (("weight", "scale"), ("bias", "bias"), ("running_mean", "mean"), ("running_var", "var")):
            arrays[f"{ours}/{name}"] = taken(f"{norm}.{theirs}", 1)
        return len(weight)

    side = 7 if min(shape[:2]) > LARGE else 3
    window = left.get("conv1.weight", np.zeros(())).shape[2:]
    fits = window in ((), (side, side))  # without it, `put` says so
    require(fits, "shape", shape, f"images whose sides are {'all above' if side == 3 else 'not all above'} {LARGE}")
    first = put("conv1", "bn1", "first/linear/kernel", "first/norm")
    outer, inner = list[int](), list[int]()
    for group, times in enumerate(resnet.BLOCKS, start=1):
        for block in range(times):
            here, number = f"layer{group}.{block}", len(outer)
            for at in (0, 1):
                ours = f"inner/{2 * number + at}"
                inner.append(put(f"{here}.conv{at + 1}", f"{here}.bn{at + 1}", f"{ours}/linear/kernel", f"{ours}/norm"))
            outer.append(put(f"{here}.conv3", f"{here}.bn3", f"outer/{number}/kernel", f"norms/{number}"))
            if block == 0:
                shorter, norm = f"{here}.downsample.0", f"{here}.downsample.1"
                put(shorter, norm, f"shortcuts/{number}/kernel", f"shortcut_norms/{number}")
    arrays |= {"head/kernel": np.ascontiguousarray(taken("fc.weight", 2).T), "head/bias": taken("fc.bias", 1)}
    require(not left, "state_dict", sorted(left)[:3], "without arrays that torchvision's resnet50 has not")
    built = (first, *outer, *inner)
    return arrays, Card(model="resnet-50", shape=shape, classes=len(arrays["head/bias"]), built=built)


def _under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{prefix}/{name}": np.ascontiguousarray(array) for name, array in arrays.items()}


def _parts(arrays: Mapping[str, np.ndarray]) -> dict[str, list[_Layer]]:
    """The layers of `features` (or `feature`) and `classifier`, in order."""
    modules: dict[tuple[str, int], dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        match = _NAME.fullmatch(name)
        if match is None:
            raise InvalidInput(f"file must hold features.N.* or feature.N.*, and classifier.*, of a VGG, got {name!r}")
        part, position, kind = match.groups()
        modules.setdefault((part, int(position or 0)), {})[kind] = array.astype(np.float32)
    parts: dict[str, list[_Layer]] = {}
    for (part, position), found in sorted(modules.items()):
        layers = parts.setdefault(part, [])
        if "running_mean" in found:
            whole = "running_var" in found and bool(layers) and layers[-1].norm is None
            require(whole, f"{part}.{position}", sorted(found), "a normalisation with its statistics, behind a layer")
            layers[-1] = layers[-1]._replace(norm=found)
        else:
            weight = found.get("weight", np.zeros(()))
            require(weight.ndim in (2, 4), f"{part}.{position}", sorted(found), "a convolution or a dense layer")
            bias = found.get("bias", np.zeros(len(weight), np.float32))
            layers.append(_Layer(position, weight, bias, None))
    require(
        "classifier" in parts and len(parts) == 2, "file", sorted(parts), "with features (or feature) and classifier"
    )
    return parts


def _check(
    convolutions: list[_Layer], dense: list[_Layer], model: str, ends: tuple[int, ...], image_channels: int
) -> None:
    """Raises `InvalidInput` unless these are the layers of the named network, one after another."""
    count = len(convolutions)
    require(count == ends[-1], "model", model, f"the network of the file, which has {count} convolutions")
    inputs = image_channels
    for layer in convolutions:
        fits = layer.weight.shape[1:] == (inputs, 3, 3)
        require(fits, f"convolution {layer.position}", layer.weight.shape[1:], f"3x3 of {inputs} channels")
        inputs = len(layer.weight)
    gaps = [later.position - layer.position for layer, later in pairwise(convolutions)]
    expected = [
        2 + (layer.norm is not None) + (number in ends) for number, layer in enumerate(convolutions[:-1], start=1)
    ]
    require(gaps == expected, "file", gaps, f"a network whose layers follow each other at distances {expected}")
    require(all(layer.weight.ndim == 2 for layer in dense), "classifier", "a convolution", "dense layers")
    sizes = [dense[0].weight.shape[1], *(len(layer.weight) for layer in dense)]
    require(sizes[:-1] == [layer.weight.shape[1] for layer in dense], "classifier", sizes, "layers that fit each other")
    require(dense[-1].norm is None, "classifier", "a last layer with normalisation", "one that ends in logits")


def _averages(size: int) -> np.ndarray:
    """`[SIDE, size]`: `AdaptiveAvgPool` along one axis; result i averages from floor(i size / SIDE) to ceil((i + 1)
    size / SIDE)."""
    matrix = np.zeros((SIDE, size))
    for i, row in enumerate(matrix):
        start, end = i * size // SIDE, -(-(i + 1) * size // SIDE)
        row[start:end] = 1 / (end - start)
    return matrix


def _flattened(weight: np.ndarray, channels: int, height: int, width: int) -> np.ndarray:
    """Kernel `[height * width * channels, outputs]` of a dense layer behind a flattened image, of PyTorch's weight
    `[outputs, channels * height * width]`, or `[outputs, channels * SIDE * SIDE]` behind an average to SIDE x SIDE."""
    if weight.shape[1] == channels * height * width:
        images = weight.reshape(-1, channels, height, width)
    else:
        averaged = weight.reshape(-1, channels, SIDE, SIDE)
        images = np.einsum("ocij,ih,jw->ochw", averaged, _averages(height), _averages(width), optimize=True)
    return images.transpose(2, 3, 1, 0).reshape(-1, len(weight)).astype(np.float32)
