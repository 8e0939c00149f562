"""What a model computes, read off its trace: its steps, what is known of each operation, its layers and their units.

1. `program`      a function of parameters and an input as a flat list of primitive operations
2. `operations`   what is known about each primitive
3. `origins`      which element of a parameter stands where in a value made from it
4. `units`        layers, their units, and what belongs to one
5. `named`        the same from the names of parameters alone, where there is no computation to read
"""

from jaxsparse.tracing.program import Program, arrays_of, function_of, trace, trace_function
from jaxsparse.tracing.units import Layer, Part, Wiring, layers, names_of, wiring

__all__ = [
    "Layer",
    "Part",
    "Program",
    "Wiring",
    "arrays_of",
    "function_of",
    "layers",
    "names_of",
    "trace",
    "trace_function",
    "wiring",
]
