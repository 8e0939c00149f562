"""ResNet-18 (He et al. 2016), the modules and names of torchvision's `resnet18`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsparse.bench.architectures.dying import drawn, scaled_away

WIDTHS, BLOCKS = (64, 128, 256, 512), 2


class BasicBlock(nnx.Module):
    def __init__(self, inplanes: int, planes: int, stride: int, rngs: nnx.Rngs):
        self.conv1 = nnx.Conv(inplanes, planes, (3, 3), stride, padding=1, use_bias=False, rngs=rngs)
        self.bn1 = nnx.BatchNorm(planes, rngs=rngs)
        self.conv2 = nnx.Conv(planes, planes, (3, 3), padding=1, use_bias=False, rngs=rngs)
        self.bn2 = nnx.BatchNorm(planes, rngs=rngs)
        shorter = nnx.Conv(inplanes, planes, (1, 1), stride, padding=0, use_bias=False, rngs=rngs)
        changes = stride != 1 or inplanes != planes
        self.downsample = nnx.data(nnx.Sequential(shorter, nnx.BatchNorm(planes, rngs=rngs)) if changes else None)

    def __call__(self, x: jax.Array) -> jax.Array:
        identity = x if self.downsample is None else self.downsample(x)
        out = nnx.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return nnx.relu(out + identity)


class ResNet18(nnx.Module):
    def __init__(self, width: float, rngs: nnx.Rngs, classes: int = 10):
        widths = [max(4, int(width * each)) for each in WIDTHS]
        self.conv1 = nnx.Conv(3, widths[0], (7, 7), 2, padding=3, use_bias=False, rngs=rngs)
        self.bn1 = nnx.BatchNorm(widths[0], rngs=rngs)
        self.layer1 = self._layer(widths[0], widths[0], 1, rngs)
        self.layer2 = self._layer(widths[0], widths[1], 2, rngs)
        self.layer3 = self._layer(widths[1], widths[2], 2, rngs)
        self.layer4 = self._layer(widths[2], widths[3], 2, rngs)
        self.fc = nnx.Linear(widths[3], classes, rngs=rngs)

    def _layer(self, inplanes: int, planes: int, stride: int, rngs: nnx.Rngs) -> nnx.List[BasicBlock]:
        later = [BasicBlock(planes, planes, 1, rngs) for _ in range(BLOCKS - 1)]
        return nnx.List([BasicBlock(inplanes, planes, stride, rngs), *later])

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.bn1(self.conv1(x)))
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-jnp.inf)
        x = nnx.max_pool(x, window_shape=(3, 3), strides=(2, 2))  # by name, as jax2onnx wants it
        for blocks in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in blocks:
                x = block(x)
        return self.fc(jnp.mean(x, (1, 2)))


def kill(model: ResNet18, rng: np.random.Generator, share: float) -> None:
    """Inside of the blocks, and in a stage the same channels of all terms of its sum."""
    for blocks in (model.layer1, model.layer2, model.layer3, model.layer4):
        stream = drawn(rng, blocks[0].conv2.out_features, share)
        for block in blocks:
            scaled_away(block.bn1, drawn(rng, len(stream), share))
            scaled_away(block.bn2, stream)
            if block.downsample is not None:
                scaled_away(block.downsample.layers[1], stream)
        if blocks is model.layer1:
            scaled_away(model.bn1, stream)
