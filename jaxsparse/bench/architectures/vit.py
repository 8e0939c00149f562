"""Vision transformer (Dosovitskiy et al. 2021) with SwiGLU (Shazeer 2020), whose gate and value are one product, as in
DINOv2. Sizes of ViT-S with fewer blocks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsparse.bench.architectures.dying import drawn, silent, without_weights

HEADS, HEAD_DIM, BLOCKS, PATCH, SIDE = 6, 64, 6, 8, 64


class SwiGLU(nnx.Module):
    def __init__(self, dim: int, hidden: int, rngs: nnx.Rngs):
        self.w12, self.w3 = nnx.Linear(dim, 2 * hidden, rngs=rngs), nnx.Linear(hidden, dim, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        gate, value = jnp.split(self.w12(x), 2, axis=-1)
        return self.w3(nnx.silu(gate) * value)


class Block(nnx.Module):
    def __init__(self, dim: int, heads: int, rngs: nnx.Rngs):
        self.norm1, self.norm2 = nnx.LayerNorm(dim, rngs=rngs), nnx.LayerNorm(dim, rngs=rngs)
        self.attn = nnx.MultiHeadAttention(heads, dim, decode=False, rngs=rngs)
        self.mlp = SwiGLU(dim, 8 * dim // 3, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nnx.Module):
    def __init__(self, width: float, rngs: nnx.Rngs, classes: int = 10):
        heads = max(2, int(width * HEADS))
        dim = heads * max(6, int(HEAD_DIM * min(1.0, 4 * width)))
        self.patch_embed = nnx.Conv(3, dim, (PATCH, PATCH), PATCH, padding="VALID", rngs=rngs)
        self.cls_token = nnx.Param(0.02 * jax.random.normal(rngs.params(), (1, 1, dim)))
        self.pos_embed = nnx.Param(0.02 * jax.random.normal(rngs.params(), (1, 1 + (SIDE // PATCH) ** 2, dim)))
        self.blocks = nnx.List([Block(dim, heads, rngs) for _ in range(BLOCKS)])
        self.norm = nnx.LayerNorm(dim, rngs=rngs)
        self.head = nnx.Linear(dim, classes, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        x = self.patch_embed(images)
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        token = jnp.broadcast_to(self.cls_token[...], (x.shape[0], 1, x.shape[-1]))
        x = jnp.concatenate([token, x], axis=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


def kill(model: ViT, rng: np.random.Generator, share: float) -> None:
    """Gates with their values, and the values of whole heads."""
    for block in model.blocks:
        without_weights(block.mlp.w12, np.tile(drawn(rng, block.mlp.w3.in_features, share), 2))
        silent(block.attn.value, drawn(rng, block.attn.num_heads, share)[:, None])
