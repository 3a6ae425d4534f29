# SPDX-License-Identifier: Apache-2.0
"""Which kernels of the set `acs` a model needs: a project's own `acs_uses.h`, so that the linker drops the others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import prod

from acsgen.graph import Conv2D, Dense
from acsgen.plan import Plan, Step
from acsgen.plan.acs_forms import is_window
from acsgen.plan.conv_case import conv_case

FILE = "acs_uses.h"
_LINE = re.compile(r"^#define ACS_USES_(\w+) 1$", re.MULTILINE)


def uses_of(plan: Plan) -> set[str]:
    """The names of FILE that are 1, without their prefix."""
    return {name for step in plan.steps for name in _uses_of_step(plan, step)}


def _uses_of_step(plan: Plan, step: Step) -> Iterator[str]:
    op = step.op
    if not isinstance(op, Conv2D | Dense):
        return
    if step.form in ("plain", "winograd"):
        yield step.form.upper()
        return
    source, target = (plan.graph.tensors[name] for name in (op.inputs[0], op.output))
    case = conv_case(op, source, target, 1, 1, step.joined is not None)
    way = f"WINDOW_{case.stride[1]}" if is_window(case) else "SINGLE" if prod(case.target[:2]) == 1 else "COLUMN"
    yield f"{way}_{step.form.upper()}"


def render_uses(text: str, uses: set[str]) -> str:
    """The file with 0 for what is not used. text: the one in which everything is 1."""
    found = set(_LINE.findall(text))
    assert uses <= found, f"{FILE} does not know {uses - found}"
    return _LINE.sub(lambda line: f"#define ACS_USES_{line[1]} {int(line[1] in uses)}", text).replace(
        "here, all of them.", "those that the model needs."
    )
