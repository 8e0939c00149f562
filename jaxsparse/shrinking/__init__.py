"""Removes dead units from any `flax.nnx` model: same outputs, smaller arrays.

    smaller, report = js.shrink(model, example)
    print(report)

A trained network may carry units that do nothing: their gamma has decayed to zero, or all their weights have. Taking
them out by hand means knowing how the layers are wired. Here the wiring is read off the computation itself:

1. `masking`     the dead units' gammas are set to exactly zero; the network this gives is what must be preserved
2. `program`     that network is traced, in evaluation mode, into a flat list of primitive operations
3. `channels`    axes that meet in an operation share their channels: what must be removed together
4. `flow`        which elements can the input change, and which does the output read; the rest is superfluous
5. `folding`     the constants of removed channels go into biases and running means further on, or the channels stay
6. `rounding`    where widths are to fill vectors, some of the dead units stay
7. `cutting`     smaller arrays, and the same cut for an optimizer's state
"""

from jaxsparse.shrinking.cutting import Cut, replace_arrays
from jaxsparse.shrinking.folding import Borders
from jaxsparse.shrinking.masking import dead_by_scale, masked
from jaxsparse.shrinking.removal import parameters_left, shrink
from jaxsparse.shrinking.report import LayerReport, Report

__all__ = ["Borders", "Cut", "LayerReport", "Report", "dead_by_scale", "masked"]
__all__ += ["parameters_left", "replace_arrays", "shrink"]
