"""MobileNetV2 (Sandler et al. 2018), the modules of torchvision's `mobilenet_v2`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsparse.bench.architectures.dying import drawn, scaled_away

SETTINGS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, blocks, stride of the first."""
FIRST, LAST = 32, 1280


class ConvBNReLU(nnx.Module):
    def __init__(self, inputs: int, outputs: int, side: int, stride: int, groups: int, rngs: nnx.Rngs):
        padding = (side - 1) // 2
        self.conv = nnx.Conv(
            inputs,
            outputs,
            (side, side),
            stride,
            padding=padding,
            feature_group_count=groups,
            use_bias=False,
            rngs=rngs,
        )
        self.bn = nnx.BatchNorm(outputs, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.relu6(self.bn(self.conv(x)))


class InvertedResidual(nnx.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, rngs: nnx.Rngs):
        hidden = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        self.expand = ConvBNReLU(inputs, hidden, 1, 1, 1, rngs) if expansion != 1 else None
        self.depthwise = ConvBNReLU(hidden, hidden, 3, stride, hidden, rngs)
        self.project = nnx.Conv(hidden, outputs, (1, 1), use_bias=False, rngs=rngs)
        self.bn = nnx.BatchNorm(outputs, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        out = x if self.expand is None else self.expand(x)
        out = self.bn(self.project(self.depthwise(out)))
        return x + out if self.residual else out


class MobileNetV2(nnx.Module):
    def __init__(self, width: float, rngs: nnx.Rngs, classes: int = 10):
        def wide(channels: int) -> int:
            return max(4, int(width * channels))

        self.stem = ConvBNReLU(3, wide(FIRST), 3, 2, 1, rngs)
        blocks, channels = [], wide(FIRST)
        for expansion, outputs, count, stride in SETTINGS:
            for at in range(count):
                blocks.append(InvertedResidual(channels, wide(outputs), stride if at == 0 else 1, expansion, rngs))
                channels = wide(outputs)
        self.blocks = nnx.List(blocks)
        self.last = ConvBNReLU(channels, wide(LAST), 1, 1, 1, rngs)
        self.classifier = nnx.Linear(wide(LAST), classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.classifier(jnp.mean(self.last(x), (1, 2)))


def kill(model: MobileNetV2, rng: np.random.Generator, share: float) -> None:
    """The wide channels inside of the blocks, by the normalisation before or behind the depthwise convolution, and
    those of the last layer."""
    for number, block in enumerate(model.blocks):
        norm = block.depthwise.bn if block.expand is None or number % 2 else block.expand.bn
        scaled_away(norm, drawn(rng, norm.num_features, share))
    scaled_away(model.last.bn, drawn(rng, model.last.bn.num_features, share))
