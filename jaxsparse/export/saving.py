"""A network as the bytes of a file, in three formats."""

from __future__ import annotations

import importlib
import json
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from flax import nnx

from jaxsparse import records
from jaxsparse.checks import InvalidInput, require, require_choice
from jaxsparse.export.card import Card
from jaxsparse.export.forward import forward
from jaxsparse.trees import flatten

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
"""What a StableHLO file runs on."""


def _extra(module: str, format: str) -> ModuleType:
    """A module of the extra `export`."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise InvalidInput(
            f"format {format} needs {module}, which is not installed: pip install 'jaxsparse[export]'"
        ) from None


def _safetensors(model: nnx.Module, card: Card | None) -> bytes:
    state = nnx.state(model, nnx.Not(nnx.RngState))  # without the keys of dropout
    arrays = {name: np.asarray(jax.device_get(leaf)) for name, leaf in flatten(state).items()}
    return safetensors.numpy.save(arrays, {} if card is None else card.metadata(model))


def _onnx(model: nnx.Module, card: Card) -> bytes:
    empty = [name for name, leaf in flatten(nnx.state(model)).items() if leaf.size == 0]
    if empty:
        raise InvalidInput(f"format onnx is not possible for a network with a layer of no units ({empty[0]} is empty)")
    jax2onnx, checker = _extra("jax2onnx", "onnx"), _extra("onnx", "onnx").checker
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # warns of values whose type no reader needs
    with warnings.catch_warnings(), jax.numpy_rank_promotion("allow"):  # it replaces flax's layers by its own
        warnings.simplefilter("ignore")
        try:
            converted = jax2onnx.to_onnx(
                forward(model),
                [jax.ShapeDtypeStruct(("n", *card.shape), card.dtype)],
                model_name=card.model,
                input_names=["images"],
                output_names=["logits"],
            )
            del converted.graph.value_info[:]  # shapes of what lies between, of which it states wrong ones
            checker.check_model(converted, full_check=True)
        except Exception as error:  # whatever it does not know, or knows wrongly
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise InvalidInput(f"format onnx is not possible for this network, jax2onnx says {reason[:300]}") from None
    for name, text in card.metadata(model).items():
        entry = converted.metadata_props.add()
        entry.key, entry.value = name, text
    return converted.SerializeToString()


def _stablehlo(model: nnx.Module, card: Card) -> bytes:
    _extra("flatbuffers", "stablehlo")
    (n,) = jax.export.symbolic_shape("n")
    images = jax.ShapeDtypeStruct((n, *card.shape), jnp.dtype(card.dtype))
    return bytes(jax.export.export(jax.jit(forward(model)), platforms=PLATFORMS)(images).serialize())


_CONVERSIONS: dict[str, Callable[[nnx.Module, Card], bytes]] = {
    "safetensors": _safetensors,
    "onnx": _onnx,
    "stablehlo": _stablehlo,
}

FORMATS: tuple[str, ...] = tuple(_CONVERSIONS)
"""Names of the formats, for `--format`; a file's name ends with that of its format."""


def save(path: str | Path, model: nnx.Module, card: Card | None = None) -> list[Path]:
    """Writes a network in evaluation mode; the end of the name says the format, see the package.

    Args:
      path: `.safetensors`, `.onnx` or `.stablehlo`. Beside the last one, which has no place for it, the card is written
        as `.json`. The folder is made if it is missing.
      model: images `[n, height, width, channels]` to logits `[n, classes]`; or what the card's shape and dtype say.
      card: what the model is; may be left out for `.safetensors`, which `js.load(path, like=model)` gives back.

    Returns:
      The files.

    Raises:
      InvalidInput: for another ending, a file that is there already, a format that needs what is not installed, or
        ONNX of a network that has lost all units of a layer, which ONNX Runtime refuses, or that jax2onnx can't convert
        to a file that is valid.

    Example:
      A network of your own comes back in its own sizes, here fewer units than its class builds:

      >>> import jax.numpy as jnp
      >>> import jaxsparse as js
      >>> from flax import nnx
      >>> model = js.models.MLP(2, shape=(3,), widths=(4,), rngs=nnx.Rngs(0))
      >>> model.hidden[0].norm.scale[1] = 0.0
      >>> smaller, _ = js.shrink(model, jnp.ones((1, 3)))
      >>> [path.name for path in js.save("smaller.safetensors", smaller)]
      ['smaller.safetensors']
      >>> js.load("smaller.safetensors", like=model).head.kernel.shape
      (3, 2)
    """
    path = Path(path)
    format = path.suffix.removeprefix(".")
    require_choice("ending of the file", format, FORMATS)
    require(card is not None or format == "safetensors", "card", None, f"given for {format}: it says the input's shape")
    files = [path, path.with_suffix(".json")] if format == "stablehlo" else [path]
    for file in files:
        require(not file.exists(), "out", str(file), "a file that is not there yet")
    content = _safetensors(model, card) if card is None else _CONVERSIONS[format](model, card)
    records.writable(path.parent)
    if format == "stablehlo" and card is not None:
        metadata = {name: json.loads(text) for name, text in card.metadata(model).items()}
        records.write_text(files[1], json.dumps(metadata, indent=1))
    records.write_bytes(path, content)
    return files
