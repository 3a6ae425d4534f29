# SPDX-License-Identifier: Apache-2.0
"""The constants of additions as C text, of those by themselves and of those in a convolution."""

from __future__ import annotations

import numpy as np

from acsgen.golden.arithmetic import activation_range, scale_of
from acsgen.golden.operators import add_constants
from acsgen.graph import Add, Graph, Tensor
from acsgen.plan import Step
from acsgen.plan.fuse import other_of


def coarseness(tensor: Tensor) -> float:
    """Sorts the addend of the larger scale first: it needs no multiplier. A sum does not mind the order."""
    return -float(np.float32(scale_of(tensor)))


def add_lines(op: Add, coarse: Tensor, fine: Tensor, out: Tensor) -> tuple[str, ...]:
    """The fields of an `acs_add_t` but for `count`."""
    c = add_constants(coarse, fine, out)
    low, high = activation_range(op.activation, out)
    return (
        f".coarse_zero_point = {coarse.zero_point}, .fine_zero_point = {fine.zero_point}, "
        f".output_zero_point = {out.zero_point},",
        f".low = {low}, .high = {high},",
        f".fine = {{{c.multiplier_b}, {c.shift_b}}}, .output = {{{c.multiplier}, {c.shift}}},",
    )


def residual_lines(graph: Graph, step: Step) -> tuple[str, ...]:
    """The field `residual` of an `acs_conv_t`; nothing if a convolution has none."""
    op = step.residual
    if op is None:
        return ()
    result = graph.tensors[step.op.output]
    other = graph.tensors[other_of(op, result.name)]
    coarse, fine = sorted((other, result), key=coarseness)
    fields = (f"    {line}" for line in add_lines(op, coarse, fine, graph.tensors[op.output]))
    return (
        ".residual = &(const acs_residual_t){",
        f"    .result_is_fine = {'true' if fine is result else 'false'}, .rows = {step.rows}, .add = {{",
        *(f"    {line}" for line in fields),
        "    },",
        "},",
    )
