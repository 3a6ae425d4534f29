# SPDX-License-Identifier: Apache-2.0
"""Rendering: a plan through the templates to C text."""

from __future__ import annotations

import textwrap
from math import prod
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from acsgen import __version__
from acsgen.emit.calls import Writer
from acsgen.emit.places import Call
from acsgen.resources import resource_dir

#: The width that generated C keeps to.
LINE = 100
#: What the axes of an input are, by their number.
AXES = {1: "channels", 2: "time by channels", 3: "height by width by channels"}


def environment() -> jinja2.Environment:
    """Jinja2 set up for C: undefined names are errors, nothing is escaped."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resource_dir("templates")),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701  C, not HTML
        keep_trailing_newline=True,
        trim_blocks=False,
    )
    env.filters.update(wrapped=_wrapped, rows=_rows, cfloat=_cfloat)
    return env


def model_files(writer: Writer, fingerprint: int) -> dict[str, str]:
    """Project path -> text of everything that depends on the model's contents."""
    model, plan = writer.model, writer.plan
    graph = plan.graph
    context: dict[str, Any] = {
        "version": __version__,
        "model": model,
        "prefix": model.upper(),
        "graph_name": graph.name,
        "fingerprint": fingerprint,
        "macs": int(plan.macs()),
        "arena_bytes": max(plan.arena_bytes, 1),
        "weight_bytes": writer.constant_bytes,
        "mask_bytes": plan.mask_bytes,
        "gates": [
            {"macro": f"MASK_{writer.name(g.mask).upper()}", "mask": g.mask, "groups": g.groups, "offset": g.offset}
            for g in plan.gates
        ],
        "input": graph.tensors[graph.input],
        "axes": AXES[len(graph.shape(graph.input))],
        "output": graph.tensors[graph.output],
        "input_bytes": prod(graph.shape(graph.input)),
        "output_bytes": prod(graph.shape(graph.output)),
        "offsets": [*writer.offsets(), *writer.scratches()],
        "calls": [_seen(writer, index, call) for index, call in enumerate(writer.calls)],
        "arrays": writer.arrays,
    }
    env = environment()
    targets = {
        f"lib/model/{model}.h": "model.h.j2",
        f"lib/model/{model}.c": "model.c.j2",
        f"lib/model/{model}_weights.h": "weights.h.j2",
        f"lib/model/{model}_weights.c": "weights.c.j2",
        "src/app_model.h": "app_model.h.j2",
    }
    return {path: env.get_template(template).render(context) for path, template in targets.items()}


def _seen(writer: Writer, index: int, call: Call) -> dict[str, Any]:
    """A call with what an observer sees behind it."""
    buffer = writer.plan.buffers[call.step.output]
    is_mask = call.step.kernel == "gate"
    return {
        "comment": call.comment,
        "lists": writer.made_lists(index),
        "when": "" if is_mask else writer.condition(call.step),  # a gate's own call says when
        "choice": len(call.step.when) > 1,
        "code": call.code,
        "fallible": call.fallible,
        "layers": call.layers,
        "seen": f"{writer.name(buffer.name)}.open" if is_mask else writer.place(buffer.name),
        "seen_bytes": buffer.bytes,
    }


def _wrapped(text: str, indent: int) -> str:
    """Breaks a line of C, or a comment, at LINE columns; continuation lines are indented further."""
    continuation = indent + (3 if text.startswith("/*") else 8)
    glued = text.replace(" + ", "\0+\0")  # "at + AT_X" stays on one line
    filled = textwrap.fill(
        glued,
        width=LINE,
        initial_indent=" " * indent,
        subsequent_indent=" " * continuation,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return filled.replace("\0", " ")


def _rows(values: NDArray[Any]) -> str:
    """The initialisers of an array, as many on a line as fit."""
    numbers = ", ".join(map(str, np.asarray(values).ravel().tolist())) + ","
    return textwrap.fill(numbers, width=LINE, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)


def _cfloat(value: float) -> str:
    """A float literal of C with every digit that a float holds."""
    text = f"{value:.9g}"
    return (text if any(c in text for c in ".e") else text + ".0") + "f"
