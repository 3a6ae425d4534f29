# SPDX-License-Identifier: Apache-2.0
"""How a convolution reads groups that may be closed: choices by cost, each with its reason for `plan.json`."""

from __future__ import annotations

from acsgen.graph import Conv2D, Dense
from acsgen.plan.masks import Mask
from acsgen.plan.plan import ClosedInputs

#: From so many pixels on, summing what closed inputs add anew in each run takes less than 3 % of what they save.
FEW_PIXELS = 36


def why_all_inputs(op: Conv2D | Dense, mask: Mask | None) -> str:
    """The reason for which a convolution reads all of a tensor whose groups may be closed, or nothing.

    mask: that of the tensor, if the convolution does not go by its list.
    """
    if mask is None or mask.closed != "constant" or isinstance(op, Dense) or op.groups > 1:
        return ""
    return " Closed input groups are a constant, which zeros around the image would have to be told from: all are read."


def closed_inputs(groups: int, pixels: int, outputs: int, weights: int) -> tuple[ClosedInputs, str]:
    """Where what closed input groups add to a sum comes from: a table in flash, or one pass over their weights.

    The pass multiplies each weight of the closed groups once a run, where the layer itself does so at every
    pixel: that is nothing beside a large image. The table has one int32 for each group and output channel.
    """
    if pixels >= FEW_PIXELS:
        return "computed", f"What closed groups add is summed once a run, 1/{pixels} of what they save."
    table = 4 * groups * outputs
    return "table", f"What closed groups add is a table of {table} bytes beside {weights} of weights: few pixels."
