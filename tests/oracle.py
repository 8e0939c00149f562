"""The update rules and regularizers once more: float64 NumPy, one weight array at a time, straight from the formulas.

Shares no code with the package. Formulas: docs/conventions.md, and the publications that it names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

Array = np.ndarray
State = dict[str, Array]
Number = float | Array

ADAM = {"torch": 1e-8, "keras": 1e-7, "optax": 1e-8, "paper": 1e-8}
DEFAULTS: dict[tuple[str, str], dict[str, float]] = {
    **{("sgd", c): {"momentum": 0.0, "nesterov": False} for c in ADAM},
    **{("adam", c): {"b1": 0.9, "b2": 0.999, "eps": eps} for c, eps in ADAM.items()},
    **{("amsgrad", c): {"b1": 0.9, "b2": 0.999, "eps": eps} for c, eps in (ADAM | {"paper": 0.0}).items()},
    **{("adamax", c): {"b1": 0.9, "b2": 0.999, "eps": eps} for c, eps in (ADAM | {"paper": 0.0}).items()},
    ("rmsprop", "torch"): {"decay": 0.99, "eps": 1e-8},
    ("rmsprop", "keras"): {"decay": 0.9, "eps": 1e-7},
    ("rmsprop", "optax"): {"decay": 0.9, "eps": 1e-8},
    ("rmsprop", "paper"): {"decay": 0.9, "eps": 0.0},
    ("adagrad", "torch"): {"eps": 1e-10, "initial_accumulator_value": 0.0},
    ("adagrad", "keras"): {"eps": 1e-7, "initial_accumulator_value": 0.1},
    ("adagrad", "optax"): {"eps": 1e-7, "initial_accumulator_value": 0.1},
    ("adagrad", "paper"): {"eps": 0.0, "initial_accumulator_value": 0.0},
    ("adadelta", "torch"): {"rho": 0.9, "eps": 1e-6},
    ("adadelta", "keras"): {"rho": 0.95, "eps": 1e-7},
    ("adadelta", "optax"): {"rho": 0.9, "eps": 1e-6},
    ("adadelta", "paper"): {"rho": 0.95, "eps": 1e-6},
}


def quotient(a: Array, b: Array) -> Array:
    return np.divide(a, b, out=np.zeros_like(a), where=b != 0)


def sgd(convention: str, h: Mapping[str, Number], lr: Number, t: int, g: Array, s: State) -> Array:
    mu = h["momentum"]
    if convention in ("keras", "paper"):
        s["v"] = mu * s.get("v", 0 * g) - lr * g
        return mu * s["v"] - lr * g if h["nesterov"] else s["v"]
    s["v"] = mu * s.get("v", 0 * g) + g
    return -lr * (g + mu * s["v"] if h["nesterov"] else s["v"])


def adam(convention: str, h: Mapping[str, Number], lr: Number, t: int, g: Array, s: State) -> Array:
    s["m"] = h["b1"] * s.get("m", 0 * g) + (1 - h["b1"]) * g
    s["v"] = h["b2"] * s.get("v", 0 * g) + (1 - h["b2"]) * g**2
    c1, c2 = 1 - h["b1"] ** t, 1 - h["b2"] ** t
    if convention == "keras":
        return -lr * np.sqrt(c2) / c1 * s["m"] / (np.sqrt(s["v"]) + h["eps"])
    return -lr * (s["m"] / c1) / (np.sqrt(s["v"] / c2) + h["eps"])


def amsgrad(convention: str, h: Mapping[str, Number], lr: Number, t: int, g: Array, s: State) -> Array:
    s["m"] = h["b1"] * s.get("m", 0 * g) + (1 - h["b1"]) * g
    s["v"] = h["b2"] * s.get("v", 0 * g) + (1 - h["b2"]) * g**2
    c1, c2 = 1 - h["b1"] ** t, 1 - h["b2"] ** t
    s["top"] = np.maximum(s.get("top", 0 * g), s["v"] / c2 if convention == "optax" else s["v"])
    if convention == "optax":
        return -lr * (s["m"] / c1) / (np.sqrt(s["top"]) + h["eps"])
    if convention == "torch":
        return -lr * (s["m"] / c1) / (np.sqrt(s["top"] / c2) + h["eps"])
    if convention == "keras":
        return -lr * np.sqrt(c2) / c1 * s["m"] / (np.sqrt(s["top"]) + h["eps"])
    return -lr * quotient(s["m"], np.sqrt(s["top"]) + h["eps"])


def adamax(convention: str, h: Mapping[str, Number], lr: Number, t: int, g: Array, s: State) -> Array:
    s["m"] = h["b1"] * s.get("m", 0 * g) + (1 - h["b1"]) * g
    m = s["m"] / (1 - h["b1"] ** t)
    if convention in ("torch", "optax"):
        s["u"] = np.maximum(h["b2"] * s.get("u", 0 * g), np.abs(g) + h["eps"])
        return -lr * m / s["u"]
    s["u"] = np.maximum(h["b2"] * s.get("u", 0 * g), np.abs(g))
    return -lr * quotient(m, s["u"] + h["eps"])


def rmsprop(convention: str, h: Mapping[str, Number], lr: Number, t: int, g: Array, s: State) -> Array:
    s["v"] = h["decay"] * s.get("v", 0 * g) + (1 - h["decay"]) * g**2
    if convention in ("keras", "optax"):
        return -lr * g / np.sqrt(s["v"] + h["eps"])
    return -lr * quotient(g, np.sqrt(s["v"]) + h["eps"])


def adagrad(convention: str, h: Mapping[str, Number], lr: Number, t: int, g: Array, s: State) -> Array:
    s["sum"] = s.get("sum", 0 * g + h["initial_accumulator_value"]) + g**2
    if convention in ("keras", "optax"):
        return -lr * g / np.sqrt(s["sum"] + h["eps"])
    return -lr * quotient(g, np.sqrt(s["sum"]) + h["eps"])


def adadelta(convention: str, h: Mapping[str, Number], lr: Number, t: int, g: Array, s: State) -> Array:
    s["v"] = h["rho"] * s.get("v", 0 * g) + (1 - h["rho"]) * g**2
    d = g * np.sqrt(s.get("a", 0 * g) + h["eps"]) / np.sqrt(s["v"] + h["eps"])
    s["a"] = h["rho"] * s.get("a", 0 * g) + (1 - h["rho"]) * d**2
    return -lr * d


RULES: dict[str, Callable[..., Array]] = {
    rule.__name__: rule for rule in (sgd, adam, amsgrad, adamax, rmsprop, adagrad, adadelta)
}


def penalty_gradient(regularizer: str, strength: Number, kind: str, w: Array) -> Array:
    if regularizer == "l2":
        return strength * w
    if regularizer == "bn-l1" and kind == "scale":
        return strength * np.sign(w)
    if regularizer in {"group-lasso", "group-lasso-unweighted"} and kind == "kernel":
        return (
            strength * group_weight(regularizer, w) * quotient(w, np.sqrt(np.sum(w**2, axis=-2, keepdims=True)) + 0 * w)
        )
    return 0 * w


def group_weight(regularizer: str, w: Array) -> float:
    """Of a column of kernels `[.., inputs, outputs]`: the square root of its size, unless groups are unweighted."""
    return 1.0 if regularizer.endswith("-unweighted") else np.sqrt(w.shape[-2])


def trajectory(
    rule: str,
    convention: str,
    hyper: Mapping[str, Number],
    learning_rates: Sequence[Number],
    init: Array,
    gradients: Array,
    *,
    regularizer: str = "none",
    strength: Number = 0.0,
    kind: str = "other",
) -> Array:
    """Weights after each step `[steps, *shape]`, from `init [*shape]` and `gradients [steps, *shape]`.

    Kernels are `[.., inputs, outputs]`. Numbers may be arrays that broadcast against the weights.
    """
    start = np.array(init, np.float64)
    w, state, out, root = start, {}, [], np.sqrt(np.abs(start))
    factors = np.stack([np.sign(start) * root, root])
    for t, (lr, g) in enumerate(zip(learning_rates, np.asarray(gradients, np.float64), strict=True), start=1):
        if regularizer == "spred":
            pull = g * factors[::-1] + strength * factors
            factors = factors + RULES[rule](convention, hyper, lr, t, pull, state)
            w = np.prod(factors, axis=0)
            out.append(w)
            continue
        update = RULES[rule](convention, hyper, lr, t, g + penalty_gradient(regularizer, strength, kind, w), state)
        if regularizer == "wd":
            w = (1 - strength * lr / learning_rates[0]) * (w + update)
        elif regularizer == "wd-lr":
            w = w + update - lr * strength * w
        elif regularizer == "wd-cautious":
            w = w + update - lr * strength * np.where(update * w <= 0, w, 0)
        elif regularizer == "wd-to-start":
            w = w + update - lr * strength * (w - start)
        elif regularizer in {"proximal-group-lasso", "proximal-group-lasso-unweighted"} and kind == "kernel":
            stepped = w + update
            norm = np.sqrt(np.sum(stepped**2, axis=-2, keepdims=True)) + 0 * w
            w = stepped * np.maximum(0, 1 - quotient(lr * strength * group_weight(regularizer, w) + 0 * w, norm))
        else:
            w = w + update
        out.append(w)
    return np.stack(out)
