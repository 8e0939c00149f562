"""A small GPT and a small vision transformer under today's rules: what dies, and what `js.shrink` takes out.

The networks are those of `jaxsparse.bench.architectures` at a tenth of their widths: four blocks of 50 features in two
heads with GELU, six with SwiGLU. The GPT reads 64 characters of the topics of Python's own documentation, which ships
with Python (`pydoc_data.topics`, 465,000 characters; PSF licence), the last tenth of them held out. The vision
transformer sees `shapes-64x64x3-5000`. Both are trained in a plain loop with the package's rules, for 2,000 steps at a
batch of 16, the learning rate divided by ten after 250/325 of them.

A unit is dead whose incoming weights have an L2 norm below 1e-3, or where it has a scale, whose scale is below that.

    ROOT/today-transformers.parquet    a row for each network, rule, form of decay and seed
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jaxsparse as js
from experiments.findings import Findings, read_rows, write_rows
from experiments.today.cells import RATES
from jaxsparse import data, regularizers, schedules
from jaxsparse.bench.architectures.gpt import CONTEXT, GPT
from jaxsparse.bench.architectures.vit import ViT
from jaxsparse.shrinking.costs import cost

FILE = "today-transformers.parquet"
SETTING = ("network", "optimizer", "regularizer", "strength")
COLUMNS = (
    *(*SETTING, "seed", "loss", "error"),
    *("units", "dead", "heads", "heads_gone", "parameters", "parameters_left", "macs", "macs_left"),
    *("milliseconds", "milliseconds_left", "difference"),
)
"""`loss` and `error` (percent) of what was held out; `dead` units; `difference`: relative, between the outputs of the
network with its dead units at zero and of the smaller one. Milliseconds are of one input."""
WIDTH, STEPS, BATCH = 0.1, 2000, 16
SEEDS = (0, 1, 2)
SETTINGS = (
    ("adam", "none", 0.0),
    ("adam", "l2", 1e-4),
    ("adam", "l2", 1e-3),
    ("adamw", "wd", 1e-4),
    ("adamw", "wd", 1e-3),
    ("lion", "l2", 1e-3),
    ("lion", "wd", 1e-4),
    ("muon", "l2", 1e-3),
    ("muon", "wd", 1e-4),
)
"""Rule, regularizer (of every parameter) and strength; `wd` 1e-4 is a `weight_decay` of 0.1 for AdamW at 1e-3."""


@dataclass(frozen=True)
class Task:
    """A network, and what it learns."""

    build: Callable[[nnx.Rngs], nnx.Module]
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    cut: bool = False
    """whether inputs and targets are one row of characters, to be cut into pieces"""

    def batch(self, key: jax.Array, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Some of the inputs and their targets, at random."""
        if not self.cut:
            index = jax.random.randint(key, (BATCH,), 0, len(x))
            return x[index], y[index]
        starts = jax.random.randint(key, (BATCH, 1), 0, len(x) - CONTEXT)
        index = starts + jnp.arange(CONTEXT)[None]
        return x[index], y[index]

    def held_out(self) -> tuple[np.ndarray, np.ndarray]:
        """What the network is tested on."""
        if not self.cut:
            return self.test
        x, y = (part[: len(part) // CONTEXT * CONTEXT].reshape(-1, CONTEXT) for part in self.test)
        return x, y


@cache
def _characters() -> Task:
    text = "\n".join(topics.values())
    letters = {letter: number for number, letter in enumerate(sorted(set(text)))}
    codes = np.asarray([letters[letter] for letter in text], np.int32)
    end = len(codes) * 9 // 10
    train, test = codes[:end], codes[end:]
    return Task(lambda rngs: GPT(WIDTH, rngs), (train[:-1], train[1:]), (test[:-1], test[1:]), cut=True)


@cache
def _pictures() -> Task:
    found = data.load("shapes-64x64x3-5000")
    train, test = (
        (np.asarray(data.preprocess(found, part.images)), np.asarray(part.labels)) for part in (found.train, found.test)
    )
    return Task(lambda rngs: ViT(WIDTH, rngs, found.description.classes), train, test)


TASKS: dict[str, Callable[[], Task]] = {"gpt": _characters, "vit": _pictures}


@cache
def _training(name: str, rule: str, form: str) -> Callable[[Any, Any], Any]:
    """From a strength and a seed to a trained model; compiled once."""
    task = TASKS[name]()
    schedule = schedules.step_decay(RATES[rule], (round(STEPS * 250 / 325),), 0.1)
    graph, _, rest = nnx.split(task.build(nnx.Rngs(0)), nnx.Param, ...)
    x, y = map(jnp.asarray, task.train)

    def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        model: Any = nnx.merge(graph, params, rest, copy=True)
        return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

    @jax.jit
    def train(params: Any, strength: jax.Array, seed: jax.Array) -> Any:
        tx = js.optimizer(rule, schedule, regularizer=regularizers.regularizer(form, strength))

        def step(carry: Any, number: jax.Array) -> Any:
            params, state = carry
            key = jax.random.fold_in(jax.random.key(seed), number)
            gradients = jax.grad(loss)(params, *task.batch(key, x, y))
            updates, state = tx.update(gradients, state, params)
            return (optax.apply_updates(params, updates), state), None

        params, state = jax.lax.scan(step, (params, tx.init(params)), jnp.arange(STEPS))[0]
        return js.rules.evaluated(state, params)

    def trained(strength: float, seed: int) -> Any:
        params = nnx.as_pure(nnx.state(task.build(nnx.Rngs(seed)), nnx.Param))
        model = nnx.merge(graph, train(params, jnp.float32(strength), jnp.uint32(seed)), rest, copy=True)
        model.eval()
        return model

    return trained


def _tested(model: Any, task: Task) -> tuple[float, float]:
    """Loss and error in percent."""
    graph, state = nnx.split(model)

    @jax.jit
    def of(state: Any, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        outputs = nnx.merge(graph, state)(x)
        losses = optax.softmax_cross_entropy_with_integer_labels(outputs, y)
        return losses.mean(), 100 * (outputs.argmax(-1) != y).mean()

    x, y = task.held_out()
    size = len(x) // 5
    found = [of(state, x[at : at + size], y[at : at + size]) for at in range(0, 5 * size, size)]
    loss, error = np.mean(np.asarray(found), axis=0)
    return float(loss), float(error)


def _heads(model: Any) -> int:
    """Of all attentions."""
    if isinstance(model, GPT):
        return sum(block.attn.c_proj.in_features // block.attn.head_dim for block in model.h)
    return sum(block.attn.num_heads for block in model.blocks)


def _row(name: str, rule: str, form: str, strength: float, seed: int) -> dict[str, Any]:
    task, model = TASKS[name](), _training(name, rule, form)(strength, seed)
    loss, error = _tested(model, task)
    x = jnp.asarray(task.held_out()[0][:8])
    dead = js.shrinking.dead_by_scale(model, 1e-3, x)
    smaller, report = js.shrink(model, x, dead)
    before, after = (cost(one, x, batches=(1,)) for one in (model, smaller))
    return {
        "network": name,
        "optimizer": rule,
        "regularizer": form,
        "strength": strength,
        "seed": seed,
        "loss": loss,
        "error": error,
        "units": sum(map(len, dead.values())),
        "dead": int(sum(mask.sum() for mask in dead.values())),
        "heads": _heads(model),
        "heads_gone": _heads(model) - _heads(smaller),
        "parameters": before.parameters,
        "parameters_left": after.parameters,
        "macs": before.macs,
        "macs_left": after.macs,
        "milliseconds": 1e3 * before.latency[1],
        "milliseconds_left": 1e3 * after.latency[1],
        "difference": report.difference,
    }


def follow(root: Path) -> None:
    """Trains what has not been, and keeps what came out of each at once."""
    rows = read_rows(root / FILE)
    done = {tuple(row[name] for name in (*SETTING, "seed")) for row in rows}
    for seed in SEEDS:
        for name in TASKS:
            for setting in SETTINGS:
                if (name, *setting, seed) not in done:
                    rows.append(_row(name, *setting, seed))
                    write_rows(root / FILE, rows)


def read(root: Path) -> Sequence[dict[str, Any]]:
    """The rows that were kept."""
    return read_rows(root / FILE)


FOUND = Findings("today-transformers", COLUMNS, read)
