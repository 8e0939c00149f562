"""ConvNeXt (Liu et al. 2022), the modules and names of its authors' code, sizes of ConvNeXt-T with fewer blocks."""

from __future__ import annotations

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsparse.bench.architectures.dying import drawn, without_weights

WIDTHS, DEPTHS = (96, 192, 384, 768), (1, 1, 3, 1)


class Block(nnx.Module):
    def __init__(self, dim: int, rngs: nnx.Rngs):
        self.dwconv = nnx.Conv(dim, dim, (7, 7), padding=3, feature_group_count=dim, rngs=rngs)
        self.norm = nnx.LayerNorm(dim, rngs=rngs)
        self.pwconv1 = nnx.Linear(dim, 4 * dim, rngs=rngs)
        self.pwconv2 = nnx.Linear(4 * dim, dim, rngs=rngs)
        self.gamma = nnx.Param(jnp.full(dim, 1e-6))

    def __call__(self, x: jax.Array) -> jax.Array:
        out = self.norm(self.dwconv(x))
        out = self.pwconv2(nnx.gelu(self.pwconv1(out)))
        return x + self.gamma * out


class ConvNeXt(nnx.Module):
    def __init__(self, width: float, rngs: nnx.Rngs, classes: int = 10):
        dims = [max(4, int(width * each)) for each in WIDTHS]
        patches = nnx.Conv(3, dims[0], (4, 4), 4, padding="VALID", rngs=rngs)
        layers = [nnx.Sequential(patches, nnx.LayerNorm(dims[0], rngs=rngs))]
        for before, after in pairwise(dims):
            halved = nnx.Conv(before, after, (2, 2), 2, padding="VALID", rngs=rngs)
            layers.append(nnx.Sequential(nnx.LayerNorm(before, rngs=rngs), halved))
        self.downsample_layers = nnx.List(layers)
        blocks = [[Block(dim, rngs) for _ in range(depth)] for dim, depth in zip(dims, DEPTHS, strict=True)]
        self.stages = nnx.List([nnx.Sequential(*each) for each in blocks])
        self.norm = nnx.LayerNorm(dims[-1], rngs=rngs)
        self.head = nnx.Linear(dims[-1], classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        for downsample, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(downsample(x))
        return self.head(self.norm(jnp.mean(x, (1, 2))))


def kill(model: ConvNeXt, rng: np.random.Generator, share: float) -> None:
    """The wide units of the blocks; a normalisation over the channels needs all of the narrow ones."""
    for stage in model.stages:
        for block in stage.layers:
            without_weights(block.pwconv1, drawn(rng, block.pwconv1.out_features, share))
