"""Trained networks to files and back, and networks from PyTorch.

A network goes with its `Card`, which says what it is and how to feed it:

    model, card = js.from_torch("vgg16_bn.pth", "vgg-16", shape=(224, 224, 3))
    smaller, report = js.shrink(model, example)
    js.save("smaller.safetensors", smaller, card)   # or .onnx, .stablehlo
    js.load("smaller.safetensors")

| format        | holds                                                          | read by                            |
|---------------|----------------------------------------------------------------|------------------------------------|
| `safetensors` | arrays by name, the card in the metadata                       | `js.load`; any safetensors library |
| `onnx`        | the network as an ONNX graph, the card in the metadata         | ONNX Runtime and others            |
| `stablehlo`   | the network as a program for CPU, GPU and TPU; the card beside | `jax.export.deserialize`           |

Any `flax.nnx` model of your own goes as `js.save("mine.safetensors", model)` and comes back, of whatever sizes, as
`js.load("mine.safetensors", like=model)`; so does the `state_dict` of a PyTorch network whose modules have the same
names, `js.load("theirs.pth", like=model)`.

The last two take any number of images `[n, height, width, channels]`, normalised as the card says, and give logits.
"""

from jaxsparse.export.card import Card
from jaxsparse.export.loading import beside, folder_of, load, read
from jaxsparse.export.pytorch import from_torch
from jaxsparse.export.saving import FORMATS, save

__all__ = ["FORMATS", "Card", "beside", "folder_of", "from_torch", "load", "read", "save"]
