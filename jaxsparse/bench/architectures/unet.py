"""U-Net (Ronneberger et al. 2015) with batch normalisation, the modules of its common PyTorch implementation: double
convolutions, transposed ones on the way up, and what skips the middle concatenated."""

from __future__ import annotations

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsparse.bench.architectures.dying import drawn, scaled_away

WIDTHS = (64, 128, 256, 512)


class DoubleConv(nnx.Module):
    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs):
        self.conv1 = nnx.Conv(inputs, outputs, (3, 3), padding=1, use_bias=False, rngs=rngs)
        self.bn1 = nnx.BatchNorm(outputs, rngs=rngs)
        self.conv2 = nnx.Conv(outputs, outputs, (3, 3), padding=1, use_bias=False, rngs=rngs)
        self.bn2 = nnx.BatchNorm(outputs, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.bn1(self.conv1(x)))
        return nnx.relu(self.bn2(self.conv2(x)))


class Up(nnx.Module):
    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs):
        self.up = nnx.ConvTranspose(inputs, inputs // 2, (2, 2), 2, padding="VALID", rngs=rngs)
        self.conv = DoubleConv(inputs, outputs, rngs)

    def __call__(self, x: jax.Array, skipped: jax.Array) -> jax.Array:
        return self.conv(jnp.concatenate([skipped, self.up(x)], axis=-1))


class UNet(nnx.Module):
    def __init__(self, width: float, rngs: nnx.Rngs, classes: int = 2):
        widths = [max(4, int(width * each)) for each in WIDTHS]
        pairs = list(pairwise(widths))
        self.inc = DoubleConv(3, widths[0], rngs)
        self.down = nnx.List([DoubleConv(before, after, rngs) for before, after in pairs])
        self.up = nnx.List([Up(after, before, rngs) for before, after in reversed(pairs)])
        self.outc = nnx.Conv(widths[0], classes, (1, 1), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        skipped = [self.inc(x)]
        for down in self.down:
            skipped.append(down(nnx.max_pool(skipped[-1], (2, 2), (2, 2))))
        x = skipped.pop()
        for up in self.up:
            x = up(x, skipped.pop())
        return self.outc(x)


def kill(model: UNet, rng: np.random.Generator, share: float) -> None:
    """In all normalised layers."""
    for double in (model.inc, *model.down, *(up.conv for up in model.up)):
        for norm in (double.bn1, double.bn2):
            scaled_away(norm, drawn(rng, norm.num_features, share))
