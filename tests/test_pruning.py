"""What each method prunes: against torch.nn.utils.prune, brute force, and what must hold for any weights."""

import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxsparse as js
from jaxsparse import models, pruning, trees
from jaxsparse.checks import InvalidInput
from jaxsparse.criteria import Thresholds
from jaxsparse.pruning.layers import layers
from jaxsparse.pruning.masks import masks_of

RECORDED = np.load(Path(__file__).parent / "recorded" / "prune.npz")
KEY = jax.random.key(3)


def network(name: str = "basicnet", widths: tuple[int, ...] = (6, 5), channels: int = 1):
    """Parameters of a network, all of them random."""
    model = nnx.eval_shape(
        lambda: models.build(name, shape=(8, 8, channels), classes=4, widths=widths, rngs=nnx.Rngs(0))
    )
    random = np.random.default_rng(0)
    shapes = nnx.as_pure(nnx.state(model, nnx.Param))
    return jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape), jnp.float32), shapes)


METHODS = {
    "magnitude": pruning.magnitude,
    "magnitude by layer": lambda params, s: pruning.magnitude(params, s, compare=pruning.by_layer),
    "hybrid": pruning.hybrid,
    "filters": pruning.filters,
    "filters globally": lambda params, s: pruning.filters(params, s, compare=pruning.globally),
    "slimming": pruning.slimming,
    "channels": pruning.channels,
    "random": lambda params, s: pruning.random(params, s, KEY),
    "random filters": lambda params, s: pruning.random_filters(params, s, KEY),
}


@pytest.mark.parametrize("amount", [0.0, 0.1, 0.25, 0.5, 0.9, 1.0])
@pytest.mark.parametrize(
    ("recorded", "method"),
    [
        ("global", pruning.magnitude),
        ("layer", lambda params, s: pruning.magnitude(params, s, compare=pruning.by_layer)),
        ("filters", lambda params, s: pruning.filters(params, s, prunable=pruning.kernels)),
    ],
)
def test_against_torch(recorded: str, method, amount: float) -> None:
    names = ("convolution", "first", "second")
    params = {name: {"kernel": jnp.asarray(RECORDED[f"weights/{name}"])} for name in names}
    masks = method(params, amount)
    for name in names:
        np.testing.assert_array_equal(masks[name]["kernel"], RECORDED[f"{recorded}/{amount}/{name}"], err_msg=name)


def test_hybrid_is_its_definition() -> None:
    """Every filter of every convolution loses its smallest weights, whatever the others look like."""
    params = network(widths=(3, 4))
    masks = pruning.hybrid(params, 0.4)
    leaves = trees.flatten(masks)
    for name, leaf in jax.tree.map(np.asarray, trees.flatten(params)).items():
        kept = np.asarray(leaves[name])
        if leaf.ndim != 4:
            assert kept.all(), name
            continue
        for filter in range(leaf.shape[-1]):
            weights = sorted(
                (abs(float(leaf[place])), place) for place in np.ndindex(leaf.shape) if place[-1] == filter
            )
            for rank, (_, place) in enumerate(weights):
                assert kept[place] == (rank >= round(0.4 * len(weights)))


@pytest.mark.parametrize("globally", [False, True])
def test_filters_are_ranked_as_by_a_loop(globally: bool) -> None:
    params = network(widths=(6, 5, 7))
    leaves = trees.flatten(params)
    norms = {}
    for layer in range(3):
        kernel = np.asarray(leaves[f"convolutions/{layer}/linear/kernel"], np.float64)
        for unit in range(kernel.shape[-1]):
            norms[layer, unit] = sum(abs(float(weight)) for weight in kernel[..., unit].ravel())
    groups = [list(norms)] if globally else [[at for at in norms if at[0] == layer] for layer in range(3)]
    expected = {at for group in groups for at in sorted(group, key=norms.__getitem__)[: round(0.45 * len(group))]}
    masks = pruning.filters(params, 0.45, compare=pruning.globally if globally else pruning.by_layer)
    dead = pruning.dead_units(masks)
    assert {(int(name[-1]), int(unit)) for name, mask in dead.items() for unit in np.flatnonzero(mask)} == expected
    flat = jax.tree.map(np.asarray, trees.flatten(masks))
    for layer, unit in norms:
        for parameter in ("linear/kernel", "norm/scale", "norm/bias"):
            kept = flat[f"convolutions/{layer}/{parameter}"][..., unit]
            assert (kept == ((layer, unit) not in expected)).all()
    assert flat["head/kernel"].all()
    assert flat["hidden/0/linear/kernel"].all()


def test_slimming_is_global_over_gammas() -> None:
    params = network(widths=(6, 5, 7))
    leaves = trees.flatten(params)
    gammas = {
        (layer, unit): abs(float(gamma))
        for layer in range(3)
        for unit, gamma in enumerate(np.asarray(leaves[f"convolutions/{layer}/norm/scale"]))
    }
    expected = set(sorted(gammas, key=gammas.__getitem__)[: round(0.3 * 18)])
    dead = pruning.dead_units(pruning.slimming(params, 0.3))
    assert {(int(name[-1]), int(unit)) for name, mask in dead.items() for unit in np.flatnonzero(mask)} == expected


def test_slimming_without_normalisation_takes_channels() -> None:
    """Batra et al. 2024: 36 channels on colour images."""
    params = network("batranet", (3, 3, 3, 3), channels=3)
    leaves = trees.flatten(params)
    norms = {
        (layer, i, o): np.sqrt((np.asarray(leaves[f"convolutions/{layer}/kernel"], np.float64)[..., i, o] ** 2).sum())
        for layer, i, o in itertools.product(range(4), range(3), range(3))
    }
    assert len(norms) == 36
    expected = set(sorted(norms, key=norms.__getitem__)[:9])
    flat = jax.tree.map(np.asarray, trees.flatten(pruning.slimming(params, 0.25)))
    for layer, i, o in norms:
        assert (flat[f"convolutions/{layer}/kernel"][..., i, o] == ((layer, i, o) not in expected)).all()
    assert all(flat[name].all() for name in flat if not name.endswith("kernel") or name.startswith("h"))


def test_implicit_is_what_is_dead() -> None:
    params = network()
    params["convolutions"][0]["norm"]["scale"] = jnp.array([1.0, 1e-4, -1e-4, 1e-2, -1.0, 0.0])
    params["convolutions"][1]["norm"]["scale"] = jnp.ones(5)
    params["hidden"][0]["norm"]["scale"] = jnp.ones(256)
    assert {name: list(mask) for name, mask in pruning.dead_units(pruning.implicit(params)).items()} == {
        "convolutions/0": [False, True, True, False, False, True]
    }
    loose = pruning.implicit(params, Thresholds(scale=0.1))
    assert list(pruning.dead_units(loose)["convolutions/0"]) == [False, True, True, True, False, True]
    plain = {"a": {"kernel": jnp.array([[3e-4, 1.0, 9e-4], [-4e-4, 0.0, 9e-4]]), "bias": jnp.ones(3)}}
    masks = pruning.implicit(plain)
    np.testing.assert_array_equal(masks["a"]["bias"], [False, True, True])  # L2 norms 5e-4, 1 and 1.3e-3
    np.testing.assert_array_equal(masks["a"]["kernel"], [[False, True, True]] * 2)


def test_random_is_the_key_s() -> None:
    params = {"a": {"kernel": jnp.ones((3, 3, 4, 6))}}
    one, same, other = (pruning.random(params, 0.5, jax.random.key(seed))["a"]["kernel"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert 20 < int((one != other).sum()) < 196
    units = pruning.random_filters(params, 0.5, jax.random.key(0))
    assert [int(mask.sum()) for mask in pruning.dead_units(units).values()] == [3]


def test_a_schedule_by_layer() -> None:
    params = network(widths=(6, 5, 7))
    masks = pruning.filters(params, {"convolutions/0": 0.5, "convolutions/2": pruning.Below(1e9)})
    assert {name: int(mask.sum()) for name, mask in pruning.dead_units(masks).items()} == {
        "convolutions/0": 3,
        "convolutions/2": 7,
    }


def test_by_value() -> None:
    params = {"a": {"kernel": jnp.array([[0.1, -0.2, 0.3]])}, "b": {"kernel": jnp.array([[0.2]]), "bias": jnp.zeros(1)}}
    masks = pruning.magnitude(params, pruning.Below(0.2))
    np.testing.assert_array_equal(masks["a"]["kernel"], [[False, True, True]])
    assert masks["b"]["kernel"].all()
    assert masks["b"]["bias"].all()


def test_equal_scores_go_in_order() -> None:
    params = {"a": {"kernel": jnp.array([[1.0, -1.0, 2.0, 1.0]])}, "b": {"kernel": jnp.array([[1.0], [1.0]])}}
    masks = pruning.magnitude(params, 0.5)
    np.testing.assert_array_equal(masks["a"]["kernel"], [[False, False, True, False]])
    assert masks["b"]["kernel"].all()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 100),
    levels=st.sampled_from([2, 5, 1000]),
    low=st.floats(0, 1),
    high=st.floats(0, 1),
    name=st.sampled_from(sorted(METHODS)),
)
def test_properties(seed: int, levels: int, low: float, high: float, name: str) -> None:
    """With few levels, most scores are equal."""
    low, high = sorted((low, high))
    random = np.random.default_rng(seed)

    def some(*shape: int) -> jax.Array:
        return jnp.asarray(random.integers(-levels, levels + 1, shape) / levels, jnp.float32)

    params = {
        "a": {"linear": {"kernel": some(2, 2, 2, 3)}, "norm": {"scale": some(3), "bias": some(3)}},
        "b": {"linear": {"kernel": some(2, 2, 3, 5)}, "norm": {"scale": some(5), "bias": some(5)}},
        "c": {"kernel": some(5, 4), "bias": some(4)},
    }
    method = METHODS[name]
    less, more = method(params, low), method(params, high)
    assert jax.tree.map(jnp.shape, less) == jax.tree.map(jnp.shape, params)
    assert all(mask.dtype == bool for mask in jax.tree.leaves(less))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(b & ~a, False), less, more)  # a subset
    if not name.startswith("random"):
        again = method(pruning.apply(params, less), low)
        jax.tree.map(np.testing.assert_array_equal, again, less)
    pruned = {path: int((~mask).sum()) for path, mask in trees.flatten(less).items()}
    a, b = pruned["a/linear/kernel"], pruned["b/linear/kernel"]
    expected = {
        "magnitude": lambda: a + b + pruned["c/kernel"] == round(low * 104),
        "random": lambda: a + b + pruned["c/kernel"] == round(low * 104),
        "magnitude by layer": lambda: (a, b, pruned["c/kernel"]) == (round(low * 24), round(low * 60), round(low * 20)),
        "hybrid": lambda: (a, b) == (3 * round(low * 8), 5 * round(low * 12)),
        "filters": lambda: (a, b) == (8 * round(low * 3), 12 * round(low * 5)),
        "random filters": lambda: (a, b) == (8 * round(low * 3), 12 * round(low * 5)),
        "filters globally": lambda: a // 8 + b // 12 == round(low * 8),
        "slimming": lambda: a // 8 + b // 12 == round(low * 8) == pruned["a/norm/bias"] + pruned["b/norm/scale"],
        "channels": lambda: (a + b) // 4 == round(low * (6 + 15)),
    }
    assert expected[name]()
    if name not in ("magnitude", "magnitude by layer", "random"):
        assert pruned["c/kernel"] == 0
    assert pruned["c/bias"] == 0


@pytest.mark.parametrize("name", ["mlp", "basicnet", "vgg-16", "resnet-50", "wrn-16-8", "alexnet"])
def test_layers_are_those_of_the_computation(name: str) -> None:
    """From parameters alone, the same layers that count, of the same parameters, as from what the network computes."""
    shape = (8, 8, 1)
    model = nnx.eval_shape(
        lambda: models.build(name, shape=shape, classes=3, widths=models.widths_of(name, 0.1), rngs=nnx.Rngs(0))
    )
    params = nnx.as_pure(nnx.state(model, nnx.Param))
    only = models.features_of(name)
    read = [
        layer for layer in js.wiring(model, jax.ShapeDtypeStruct((1, *shape), jnp.float32)).layers if layer.below(only)
    ]
    found = [layer for layer in layers(params) if layer.below(only)]
    assert [layer.name for layer in found] == [layer.name for layer in read]
    for one, other in zip(found, read, strict=True):
        assert {(part.name, part.axis) for part in one.parts} == {(part.name, part.axis) for part in other.parts}
    assert sorted(part.name for layer in layers(params) for part in layer.parts) == sorted(trees.flatten(params))


def test_dead_units_and_back() -> None:
    params = network(widths=(6, 5, 7))
    dead = {"convolutions/1": np.isin(np.arange(5), (0, 3)), "head": np.isin(np.arange(4), (2,))}
    masks = pruning.units(params, dead)
    found = pruning.dead_units(masks)
    assert found.keys() == dead.keys()
    for name, mask in dead.items():
        np.testing.assert_array_equal(found[name], mask)
    # a unit of which anything is left is not dead
    kept = {"convolutions/1/linear/kernel": trees.flatten(masks)["convolutions/1/linear/kernel"]}
    assert pruning.dead_units(masks_of(params, kept)) == {}


def test_emptied_layers() -> None:
    """A layer of which one weight is left is not among them."""
    params = {"a": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}, "b": {"kernel": jnp.array([[1.0, 3.0]])}}
    assert pruning.emptied(pruning.magnitude(params, pruning.Below(2.0))) == ["a"]
    assert pruning.emptied(pruning.magnitude(params, 1.0)) == ["a", "b"]
    assert pruning.emptied(pruning.magnitude(params, 0.5)) == []


class WithoutNorm(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Linear(4, 6, bias_init=nnx.initializers.ones_init(), rngs=rngs)
        self.second = nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.second(nnx.relu(self.first(x)))


def test_pruned_units_can_be_removed() -> None:
    graph, state = nnx.split(WithoutNorm(nnx.Rngs(0)))
    masks = pruning.filters(nnx.as_pure(state), 0.5, prunable=pruning.below("first"))
    pruned = nnx.merge(graph, pruning.apply(nnx.as_pure(state), masks))
    x = jax.random.normal(jax.random.key(0), (3, 4))
    smaller, report = js.shrink(pruned, x, pruning.dead_units(masks))
    assert report.widths == {"first": (6, 3), "second": (3, 3)}
    np.testing.assert_allclose(smaller(x), pruned(x), rtol=1e-5, atol=1e-6)


def test_share_pruned() -> None:
    masks = {"a": {"kernel": jnp.array([[[[True, False]]]])}, "b": {"kernel": jnp.array([[False, False]])}}
    assert pruning.share_pruned(masks) == 0.75
    assert pruning.share_pruned(masks, pruning.convolutions) == 0.5
    assert pruning.share_pruned(masks, pruning.below("b")) == 1.0
    assert np.isnan(pruning.share_pruned(masks, pruning.below("c")))


def test_nnx_states_too() -> None:
    state = nnx.state(models.MLP(widths=(5,), rngs=nnx.Rngs(0)), nnx.Param)
    masks = pruning.magnitude(state, 0.5)
    assert jax.tree.structure(masks) == jax.tree.structure(state)
    assert pruning.share_pruned(masks, pruning.kernels) == 0.5


def test_bad_input() -> None:
    params = network()
    for sparsity_, message in [(1.1, r"sparsity must be a fraction in \[0, 1\], got 1.1"), (float("nan"), "fraction")]:
        with pytest.raises(InvalidInput, match=message):
            pruning.magnitude(params, sparsity_)
    with pytest.raises(InvalidInput, match="threshold must be a finite number >= 0"):
        pruning.Below(-1.0)
    with pytest.raises(InvalidInput, match="sparsity must be one amount"):
        pruning.magnitude(params, {"head/kernel": 0.5})
    with pytest.raises(InvalidInput, match="layer in sparsity must be one of convolutions/0 convolutions/1, got 'c'"):
        pruning.filters(params, {"c": 0.5})
    with pytest.raises(InvalidInput, match="prunable must be the kernel of at least one layer"):
        pruning.filters(network("mlp"), 0.5)
    with pytest.raises(InvalidInput, match="prunable must be at least one parameter"):
        pruning.hybrid(network("mlp"), 0.5)
    with pytest.raises(InvalidInput, match="layer in dead must be one of"):
        pruning.units(params, {"c": np.zeros(3)})
    with pytest.raises(InvalidInput, match=r"must be booleans of shape \(6,\), got \(5,\)"):
        pruning.units(params, {"convolutions/0": np.zeros(5)})
