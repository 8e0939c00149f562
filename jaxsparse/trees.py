"""Names and kinds of parameters, and the masks made from them.

A parameter tree is any pytree of arrays whose keys are readable: a `flax.nnx.State`, nested dicts, or a dataclass.
The *name* of a leaf is its path joined by slashes (`hidden/0/linear/kernel`); its *kind* says what it does:

| kind   | what it is                                                   | shape                                    |
|--------|--------------------------------------------------------------|------------------------------------------|
| kernel | weights of a dense or convolution layer                      | `[..., inputs, outputs]`, outputs last   |
| bias   | additive constant of such a layer                            | `[outputs]`                              |
| scale  | gamma of a normalisation layer                               | `[channels]`                             |
| shift  | beta of a normalisation layer (the `bias` beside a `scale`)  | `[channels]`                             |
| other  | anything else                                                | any                                      |

They go by the names that flax gives them, and by those of haiku (`w`, `b`, `offset`) and equinox (`weight`, outputs
first; a scale where it has a single axis).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeAlias

import jax
import jax.numpy

from jaxsparse.checks import InvalidInput, require

Tree: TypeAlias = Any
"""Any pytree of arrays (or of what the text says instead)."""

Mask: TypeAlias = Any | Callable[[Any], Any]
"""A pytree of booleans that matches the parameters, or a function from the parameters to one (as in optax)."""


class Kind(StrEnum):
    """What a parameter does; see the module's table.

    Example:
      >>> import jaxsparse as js
      >>> [str(kind) for kind in js.trees.Kind]
      ['kernel', 'bias', 'scale', 'shift', 'other']
    """

    KERNEL = "kernel"
    BIAS = "bias"
    SCALE = "scale"
    SHIFT = "shift"
    OTHER = "other"


def _key(entry: Any) -> str:
    for attribute in ("key", "name", "idx"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return str(entry)


def _path(entries: tuple[Any, ...]) -> tuple[str, ...]:
    """Keys of a leaf; flax.nnx wraps arrays in variables whose content appears as one more key, `value`."""
    keys = tuple(_key(entry) for entry in entries)
    return keys[:-1] if len(keys) > 1 and keys[-1] in ("value", "raw_value") else keys


def flatten(params: Tree) -> dict[str, jax.Array]:
    """Leaves by name, in the tree's own order.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> list(js.trees.flatten({"hidden": {"0": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}}}))
      ['hidden/0/bias', 'hidden/0/kernel']
    """
    return {"/".join(_path(path)): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}


def kinds(params: Tree) -> Tree:
    """The same tree with the `Kind` of each leaf in its place.

    Example:
      >>> from flax import nnx
      >>> import jaxsparse as js
      >>> params = nnx.state(nnx.BatchNorm(4, rngs=nnx.Rngs(0)), nnx.Param)
      >>> {name: str(kind) for name, kind in js.trees.flatten(js.trees.kinds(params)).items()}
      {'bias': 'shift', 'scale': 'scale'}
    """
    shapes = {_path(path): jax.numpy.shape(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(params)}

    def is_scale(path: tuple[str, ...]) -> bool:
        """flax's and haiku's `scale`, or equinox's and PyTorch's `weight` of one axis."""
        return path in shapes and (path[-1] == "scale" or (path[-1] == "weight" and len(shapes[path]) < 2))

    def kind(entries: tuple[Any, ...], _: Any) -> Kind:
        path = _path(entries)
        last = path[-1] if path else ""
        if is_scale(path):
            return Kind.SCALE
        if last in ("kernel", "w", "weight"):
            return Kind.KERNEL
        if last in ("bias", "b", "offset"):
            beside = any(is_scale((*path[:-1], name)) for name in ("scale", "weight"))
            return Kind.SHIFT if beside or last == "offset" else Kind.BIAS
        return Kind.OTHER

    return jax.tree_util.tree_map_with_path(kind, params)


def of_kind(*wanted: Kind | str) -> Callable[[Tree], Tree]:
    """Mask function: true for leaves of the given kinds, e.g. `mask=of_kind("kernel", "scale")`.

    Raises:
      ValueError: for a name that is not a kind; when the mask is made, for a tree whose names say no kind at all.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> params = {"dense": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}, "norm": {"scale": jnp.ones(3)}}
      >>> js.trees.of_kind("kernel", "scale")(params)
      {'dense': {'bias': False, 'kernel': True}, 'norm': {'scale': True}}
    """
    chosen = frozenset(Kind(kind) for kind in wanted)

    def mask(params: Tree) -> Tree:
        found = kinds(params)
        known = jax.tree.leaves(found)
        if known and set(known) == {Kind.OTHER} and chosen != {Kind.OTHER}:
            names = " ".join(list(flatten(params))[:3])
            raise InvalidInput(f"params must have names that say what they are (kernel, bias, scale ..), got {names}")
        return jax.tree.map(lambda kind: kind in chosen, found)

    return mask


def matched(mask: Mask) -> Callable[[Tree], Tree]:
    """A mask as a function of the parameters: one that was made from another form of their tree goes by names.

    So a mask made with `jax.tree.map` over `nnx.state(model)` also fits the pure dict or the arrays made from it.

    Raises:
      InvalidInput: when the mask is made, naming the first parameter that the mask lacks or that lacks in its tree.
    """
    if callable(mask):
        return mask

    def of(params: Tree) -> Tree:
        if jax.tree.structure(mask) == jax.tree.structure(params):
            return mask
        chosen, named = flatten(mask), flatten(params)
        differing = [name for name in {**named, **chosen} if (name in chosen) != (name in named)]
        only = next(iter(differing), None)
        require(only is None, "mask", only, "a tree with a boolean for each parameter, by its name")
        return jax.tree.unflatten(jax.tree.structure(params), [chosen[name] for name in named])

    return of


EVERYTHING = "all"
PLURALS = {"kernels": Kind.KERNEL, "biases": Kind.BIAS, "scales": Kind.SCALE, "shifts": Kind.SHIFT}
"""What a command line calls the kinds of a network's parameters."""


def choice(text: str) -> frozenset[Kind]:
    """The kinds that a text names: `all`, or some of `PLURALS` joined by `+`, such as `kernels+biases`.

    Raises:
      InvalidInput: for another text.

    Example:
      >>> import jaxsparse as js
      >>> sorted(str(kind) for kind in js.trees.choice("kernels+biases"))
      ['bias', 'kernel']
    """
    if text == EVERYTHING:
        return frozenset(Kind)
    names = text.split("+")
    allowed = f"{EVERYTHING}, or some of {' '.join(PLURALS)} joined by +, each once"
    require(set(names) <= PLURALS.keys() and len(set(names)) == len(names), "regularize", text, allowed)
    return frozenset(PLURALS[name] for name in names)


def kernels(params: Tree) -> Tree:
    """Mask function: true for all weights of dense and convolution layers.

    Example:
      Decay of kernels alone:

      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> params = {"kernel": jnp.ones((1, 1)), "bias": jnp.ones(1)}
      >>> tx = js.sgd(0.1, regularizer=js.DecoupledDecay(0.5), mask=js.trees.kernels)
      >>> updates, state = tx.update({"kernel": jnp.zeros((1, 1)), "bias": jnp.zeros(1)}, tx.init(params), params)
      >>> print(updates["kernel"][0, 0], updates["bias"][0])
      -0.5 -0.0
    """
    return of_kind(Kind.KERNEL)(params)


def convolutions(params: Tree) -> Tree:
    """Mask function: true for the kernels `[height, width, inputs, outputs]` of convolutions.

    Those of attention have more than two axes too: a bias beside them has two, or they are beside such.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> js.trees.convolutions({"conv": {"kernel": jnp.ones((3, 3, 1, 8))}, "dense": {"kernel": jnp.ones((8, 2))}})
      {'conv': {'kernel': True}, 'dense': {'kernel': False}}
    """
    shapes = {_path(path): jax.numpy.shape(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    several = {path[:-2] for path, shape in shapes.items() if path[-1] == "bias" and len(shape) > 1}
    several |= {path[:-2] for path in shapes if path[-2:-1] == ("query",) and (*path[:-2], "key", path[-1]) in shapes}

    def of(entries: tuple[Any, ...], kind: Kind, leaf: Any) -> bool:
        return kind == Kind.KERNEL and leaf.ndim > 2 and _path(entries)[:-2] not in several

    return jax.tree_util.tree_map_with_path(of, kinds(params), params)


def size(tree: Tree) -> int:
    """Number of scalars in a tree of arrays.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> js.trees.size({"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)})
      9
    """
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
