# SPDX-License-Identifier: Apache-2.0
"""The definition of every operator's bits in int8, in numpy."""

from acsgen.golden.arithmetic import (
    activation_range,
    dequantize,
    quantize,
    quantize_multiplier,
    quantize_multipliers,
)
from acsgen.golden.decided import UNDECIDED, told_masks
from acsgen.golden.interpreter import quantize_input, run
from acsgen.golden.operators import add_constants

__all__ = [
    "UNDECIDED",
    "activation_range",
    "add_constants",
    "dequantize",
    "quantize",
    "quantize_input",
    "quantize_multiplier",
    "quantize_multipliers",
    "run",
    "told_masks",
]
