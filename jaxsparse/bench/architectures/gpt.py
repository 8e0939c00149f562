"""GPT-2 (Radford et al. 2019), the modules and names of nanoGPT: query, key and value of one product, and an embedding
that is the output layer too. Sizes of GPT-2 with fewer blocks and words."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsparse.bench.architectures.dying import drawn, silent, without_weights

WIDTH, HEADS, BLOCKS, CONTEXT, VOCABULARY = 768, 12, 4, 64, 1024


class CausalSelfAttention(nnx.Module):
    def __init__(self, width: int, heads: int, rngs: nnx.Rngs):
        self.c_attn, self.c_proj = nnx.Linear(width, 3 * width, rngs=rngs), nnx.Linear(width, width, rngs=rngs)
        self.head_dim = width // heads

    def __call__(self, x: jax.Array) -> jax.Array:
        batch, length, _ = x.shape
        q, k, v = (
            part.reshape(batch, length, -1, self.head_dim).swapaxes(1, 2) for part in jnp.split(self.c_attn(x), 3, -1)
        )
        att = q @ k.swapaxes(-2, -1) / jnp.sqrt(self.head_dim)
        att = jnp.where(jnp.tril(jnp.ones((length, length), bool)), att, -jnp.inf)
        y = nnx.softmax(att, axis=-1) @ v
        return self.c_proj(y.swapaxes(1, 2).reshape(batch, length, -1))


class MLP(nnx.Module):
    def __init__(self, width: int, rngs: nnx.Rngs):
        self.c_fc, self.c_proj = nnx.Linear(width, 4 * width, rngs=rngs), nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.c_proj(nnx.gelu(self.c_fc(x)))


class Block(nnx.Module):
    def __init__(self, width: int, heads: int, rngs: nnx.Rngs):
        self.ln_1, self.ln_2 = nnx.LayerNorm(width, rngs=rngs), nnx.LayerNorm(width, rngs=rngs)
        self.attn, self.mlp = CausalSelfAttention(width, heads, rngs), MLP(width, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nnx.Module):
    def __init__(self, width: float, rngs: nnx.Rngs):
        heads = max(2, int(width * HEADS))
        dim = heads * max(4, int(WIDTH // HEADS * min(1.0, 4 * width)))
        self.wte, self.wpe = nnx.Embed(VOCABULARY, dim, rngs=rngs), nnx.Embed(CONTEXT, dim, rngs=rngs)
        self.h = nnx.List([Block(dim, heads, rngs) for _ in range(BLOCKS)])
        self.ln_f = nnx.LayerNorm(dim, rngs=rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        x = self.wte(tokens) + self.wpe(jnp.arange(tokens.shape[1]))
        for block in self.h:
            x = block(x)
        return self.wte.attend(self.ln_f(x))


def kill(model: GPT, rng: np.random.Generator, share: float) -> None:
    """The wide units of the blocks, and whole heads: without a value, nothing of them is left."""
    for block in model.h:
        without_weights(block.mlp.c_fc, drawn(rng, block.mlp.c_fc.out_features, share))
        width = block.attn.c_proj.in_features
        heads = np.repeat(drawn(rng, width // block.attn.head_dim, share), block.attn.head_dim)
        silent(block.attn.c_attn, np.concatenate([np.zeros(2 * width, bool), heads]))
