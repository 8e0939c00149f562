"""The smaller arrays: kept positions of every axis, for parameters and for whatever mirrors them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsparse.checks import InvalidInput
from jaxsparse.trees import Tree, flatten

Model = TypeVar("Model", bound=nnx.Module)


ALIKE = 0.5
"""A tree that mirrors the parameters is a copy of the weights where the cosine of the angle between both is larger, of
all and of the kernels alone: with the scales of normalisations, which are near 1, all second moments are in line."""


@dataclass(frozen=True)
class Cut:
    """Which positions of which axes stay."""

    shapes: Mapping[str, tuple[int, ...]]
    """of the parameters and running statistics before, by name"""
    kept: Mapping[str, tuple[np.ndarray, ...]]
    """of the same, the kept positions along each axis"""
    weights: Mapping[str, Any] = field(default_factory=dict)
    """the parameters before, in the order of their tree"""
    fold: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    """from a copy of the parameters, by name, to the smaller arrays with the constants of removed units in them"""

    def leaf(self, name: str, array: Any) -> Any:
        """One array that mirrors the parameter of this name; never the given one itself, which may be donated."""
        if all(len(kept) == size for kept, size in zip(self.kept[name], np.shape(array), strict=True)):
            return jnp.copy(array)
        return jnp.asarray(np.asarray(array)[np.ix_(*self.kept[name])])

    def apply(self, tree: Tree) -> Tree:
        """The same cut of a tree that mirrors the parameters: gradients, masks, or an optimizer's state.

        A leaf mirrors a parameter if its path ends with the parameter's name (`0/mu/hidden/0/linear/kernel`); scalars
        and leaves of other names stay as they are. This holds for the state of every optax optimizer that keeps
        arrays like the parameters, wrapped (chained, masked, partitioned) or not, and for one vector of all of them
        (`optax.flatten`), so that training goes on:

            smaller, report = js.shrink(model, example)
            optimizer_state = report.cut.apply(optimizer_state)

        What mirrors all parameters and points where the weights point is a copy of them, such as a moving average or
        the weights in a schedule-free optimizer's state. Constants of removed units are folded into it too, as in
        `Report.apply`.

        Raises:
          InvalidInput: for a leaf with the name of a parameter but another shape, such as a factored moment.
        """
        given = flatten(tree)
        named = {path: self._named(path) for path in given}
        leaves: dict[str, Any] = {}
        for path, leaf in given.items():
            name = named[path]
            if name is None or np.ndim(leaf) == 0:
                leaves[path] = self._vector(leaf) if self._is_vector(leaf) else leaf
                continue
            if np.shape(leaf) != self.shapes[name]:
                raise InvalidInput(f"{path} must have the shape of {name}, {self.shapes[name]}, got {np.shape(leaf)}")
            leaves[path] = self.leaf(name, leaf)
        for prefix in dict.fromkeys(path.removesuffix(name) for path, name in named.items() if name is not None):
            own = {name: given.get(prefix + name) for name in self.weights}
            if self.fold is not None and self._is_copy(own):
                folded = self.fold(own)
                leaves.update({prefix + name: folded[name] for name in own})
        return jax.tree.unflatten(jax.tree.structure(tree), list(leaves.values()))

    def _is_copy(self, own: Mapping[str, Any]) -> bool:
        """Whether a tree is a copy of the weights."""
        if any(leaf is None or np.shape(leaf) != self.shapes[name] for name, leaf in own.items()):
            return False
        if not all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in own.values()):
            return False
        pairs = [(np.asarray(leaf, np.float64), np.asarray(self.weights[n], np.float64)) for n, leaf in own.items()]
        kernels = [pair for pair in pairs if pair[0].ndim > 1]
        return _cosine(pairs) > ALIKE and (not kernels or _cosine(kernels) > ALIKE)

    def _is_vector(self, leaf: Any) -> bool:
        total = sum(int(np.prod(self.shapes[name])) for name in self.weights)
        return np.ndim(leaf) == 1 and np.shape(leaf) == (total,) and total > 0

    def _vector(self, leaf: Any) -> Any:
        """One vector of all parameters, in the order of their tree."""
        ends = np.cumsum([int(np.prod(self.shapes[name])) for name in self.weights])[:-1]
        parts = zip(self.weights, np.split(np.asarray(leaf), ends), strict=True)
        return jnp.concatenate([jnp.ravel(self.leaf(name, part.reshape(self.shapes[name]))) for name, part in parts])

    def _named(self, path: str) -> str | None:
        parts = path.split("/")
        names = ("/".join(parts[start:]) for start in range(len(parts)))
        return next((name for name in names if name in self.shapes), None)


def _cosine(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Of the angle between two vectors, given in pieces; 0 where one is zero."""
    product, one, other = (
        sum(float(np.sum(x * y)) for x, y in each)
        for each in (pairs, [(a, a) for a, _ in pairs], [(b, b) for _, b in pairs])
    )
    return product / float(np.sqrt(one * other)) if one * other > 0 else 0.0


def replace_arrays(model: Model, arrays: Mapping[str, Any]) -> Model:
    """A copy of a model with other arrays, perhaps of other sizes, and the sizes that its modules state set to theirs.

    Args:
      arrays: by name. One that the model lacks must be the `bias` of a module of the model, which then gets it.

    Raises:
      InvalidInput: where an array is missing.
    """
    graph, state = nnx.split(model)
    names = list(flatten(state))
    own = flatten(nnx.state(model, nnx.RngState))  # of dropout, which files do not hold
    arrays = {**own, **arrays}
    missing = [name for name in names if name not in arrays]
    if missing:
        raise InvalidInput(f"weights must hold every array of the model, {missing[0]!r} is missing")
    leaves = [arrays[name] for name in names]
    copy = nnx.merge(graph, jax.tree.unflatten(jax.tree.structure(state), leaves), copy=True)
    modules = {"/".join(map(str, path)): module for path, module in nnx.iter_modules(copy)}
    for name in arrays.keys() - set(names):
        module: Any = modules[name.rpartition("/")[0]]
        module.bias, module.use_bias = nnx.Param(jnp.asarray(arrays[name])), True
    for module in modules.values():
        _state_sizes(module)
    return copy


def _state_sizes(module: Any) -> None:
    """Sets the sizes that flax's modules state beside their arrays."""
    if isinstance(module, nnx.Linear):
        *_, module.in_features, module.out_features = module.kernel.shape
    elif isinstance(module, nnx.Conv):
        depthwise = 1 < module.feature_group_count == module.in_features
        *_, inputs, outputs = module.kernel_shape = _own(module.kernel, module.kernel_shape)
        if depthwise:  # groups go whole; in wider ones as many channels of each
            module.feature_group_count = outputs // (module.out_features // module.in_features)
        module.in_features, module.out_features = inputs * module.feature_group_count, outputs
    elif isinstance(module, nnx.ConvTranspose):
        *_, inputs, outputs = module.kernel_shape = _own(module.kernel, module.kernel_shape)
        if module.transpose_kernel:
            inputs, outputs = outputs, inputs
        module.in_features, module.out_features = inputs, outputs
    elif isinstance(module, nnx.BatchNorm):
        module.num_features = module.mean.shape[-1]
    elif isinstance(module, nnx.LayerNorm | nnx.RMSNorm):
        sized = [v for v in (getattr(module, "scale", None), getattr(module, "bias", None)) if v is not None]
        module.num_features = sized[0].shape[-1] if sized else module.num_features
    elif isinstance(module, nnx.Embed):
        *_, module.num_embeddings, module.features = module.embedding.shape
    elif isinstance(module, nnx.LinearGeneral):
        shape = _own(module.kernel, (*module.in_features, *module.out_features))
        ends = len(module.in_features)
        module.in_features, module.out_features = shape[:ends], shape[ends:]
    elif isinstance(module, nnx.Einsum):
        module.kernel_shape = _own(module.kernel, module.kernel_shape)
        if module.bias is not None and module.bias_shape is not None:
            module.bias_shape = _own(module.bias, module.bias_shape)
    elif isinstance(module, nnx.MultiHeadAttention):
        module.num_heads, module.head_dim = module.query.out_features
        module.qkv_features = module.num_heads * module.head_dim


def _own(variable: Any, before: Any) -> tuple[int, ...]:
    """The shape of an array without the axes along which layers are stacked."""
    return tuple(variable.shape[variable.ndim - len(before) :])
