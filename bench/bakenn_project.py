# SPDX-License-Identifier: Apache-2.0
"""An int8 graph compiled by bakenn instead of acsgen, in the same firmware: same weights, board, flags and link."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import bakenn
import numpy as np
from bakenn.backend.portable_c import CBackendOptions, KernelPolicy
from bakenn.ir import (
    AddOp,
    AveragePool2DOp,
    Conv2DOp,
    DType,
    FlattenOp,
    Layout,
    LinearOp,
    PerAxisQParams,
    PerTensorQParams,
    QuantizedGraph,
    TensorType,
)
from bakenn.ir.ops.pool import AVERAGE_POOL_PROFILE_TFLITE_RAW_V1
from bakenn.ir.types import normalize_scale_float32

from acsgen.emit.surroundings import project_files
from acsgen.errors import AcsgenError
from acsgen.golden.arithmetic import activation_range
from acsgen.graph import Add, AvgPool, Conv2D, Dense, Flatten, Graph, Op
from acsgen.target.boards import Board

#: C name of the model; `ENTRY` runs it.
NAME = "peer"
ENTRY = f"{NAME}_run"

#: bakenn's names of what a board's processor is, by the beginning of its core's name.
_TARGETS = {"cortex-m": "cortex-m4", "rv32": "rv32imc"}


def write_bakenn_project(graph: Graph, board: Board, project: Path) -> None:
    """Writes a project that runs `graph` as bakenn compiles it, with CMSIS-NN on Arm.

    Raises AcsgenError if bakenn has no such processor, or the graph holds an operator that is not translated.
    """
    target = next((name for core, name in _TARGETS.items() if board.core.startswith(core)), None)
    if target is None:
        raise AcsgenError(f"bakenn has no kernels for board {board.name}'s core {board.core}")
    on_arm = target == "cortex-m4"
    for name, text in project_files(board, NAME).items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (project / "acsgen.json").write_text("{}", encoding="utf-8")
    model = project / "lib" / "model"
    options = CBackendOptions(kernel_policy=KernelPolicy.STATIC_PRIORITY, enable_cmsis_nn=on_arm)
    compiled = bakenn.compile(to_bakenn(graph), model, model_name=NAME, backend_options=options, target=target)
    sizes = {"input": prod(graph.shape(graph.input)), "output": prod(graph.shape(graph.output))}
    arena = compiled.memory_report.arena_bytes + compiled.memory_report.arena_alignment
    (model / "peer.h").write_text(_HEADER.format(arena=arena, **sizes), encoding="utf-8")
    (model / "peer.c").write_text(_SOURCE, encoding="utf-8")
    (project / "src" / "app_model.h").write_text(_APP_MODEL, encoding="utf-8")
    if on_arm:
        ini = project / "platformio.ini"
        folders = [f"    -isystem lib/model/third_party/{part}/Include" for part in ("cmsis_nn", "cmsis_core")]
        text = ini.read_text(encoding="utf-8")
        ini.write_text(text.replace("build_src_flags", "\n".join([*folders, "build_src_flags"])), encoding="utf-8")


_HEADER = """\
#ifndef PEER_H
#define PEER_H

#include "acs.h"

#define PEER_ARENA_BYTES {arena}
#define PEER_INPUT_BYTES {input}
#define PEER_OUTPUT_BYTES {output}

extern const acs_model_t peer_model;

#endif
"""

_SOURCE = """\
#include "peer.h"

#include "bknn_peer.h"

bool peer_run(void *arena, const int8_t *input, int8_t *output, acs_mode_t mode, const acs_observer_t *observer);

bool peer_run(void *arena, const int8_t *input, int8_t *output, acs_mode_t mode, const acs_observer_t *observer)
{
    const uintptr_t alignment = BKNN_PEER_ARENA_ALIGNMENT;

    (void)mode;
    (void)observer;
    bknn_peer_infer((uint8_t *)(((uintptr_t)arena + alignment - 1) / alignment * alignment), input, output);
    return true;
}

static const uint8_t *masks_of(const void *arena)
{
    return arena;
}

const acs_model_t peer_model = {
    .name = "peer",
    .arena_bytes = PEER_ARENA_BYTES,
    .input_bytes = PEER_INPUT_BYTES,
    .output_bytes = PEER_OUTPUT_BYTES,
    .run = peer_run,
    .masks = masks_of,
};
"""

_APP_MODEL = """\
#include "peer.h"

#define APP_MODEL peer_model
#define APP_ARENA_BYTES PEER_ARENA_BYTES
#define APP_INPUT_BYTES PEER_INPUT_BYTES
#define APP_OUTPUT_BYTES PEER_OUTPUT_BYTES
"""


def to_bakenn(graph: Graph) -> QuantizedGraph:
    """An int8 graph as bakenn's. Its multipliers are made anew from the scales, so a bit may round otherwise."""
    translation = _Translation(graph)
    for op in graph.ops:
        if type(op) not in _TRANSLATORS:
            raise AcsgenError(f"{type(op).__name__} '{op.name}' is not translated to bakenn")
        _TRANSLATORS[type(op)](translation, op)
    return QuantizedGraph(
        NAME, translation.values, translation.constants, tuple(translation.ops), (graph.input,), (graph.output,)
    )


class _Translation:
    """bakenn's graph in the making."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.ops: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.values = {name: self._activation(name) for name in graph.tensors}

    def _activation(self, name: str) -> TensorType:
        tensor = self.graph.tensors[name]
        assert tensor.scale is not None, "a graph without gates"
        layout = Layout.NC if len(tensor.shape) == 1 else Layout.NHWC
        return TensorType((1, *tensor.shape), DType.INT8, layout, PerTensorQParams(tensor.scale, tensor.zero_point))

    def weights(self, op: Any, layout: Layout) -> tuple[str, str]:
        """Names of the weights and biases of a layer; weights' scales follow from its multipliers."""
        source, target = self.graph.tensors[op.inputs[0]], self.graph.tensors[op.output]
        how = op.requantize
        real = how.multiplier.astype(np.float64) * 2.0 ** (how.shift.astype(np.float64) - 31)
        scales = tuple(normalize_scale_float32(float(s)) for s in real * target.scale / source.scale)
        zeros = (0,) * len(scales)
        product = tuple(normalize_scale_float32(normalize_scale_float32(source.scale) * s) for s in scales)
        names = f"{op.name}.weights", f"{op.name}.bias"
        for name, values, dtype, place, each in (
            (names[0], op.weights, DType.INT8, layout, scales),
            (names[1], op.bias, DType.INT32, Layout.C, product),
        ):
            self.constants[name] = values
            self.values[name] = TensorType(values.shape, dtype, place, PerAxisQParams(each, zeros, 0))
        return names


def _conv(to: _Translation, op: Any) -> None:
    pad, how = op.padding, op.requantize
    to.ops.append(
        Conv2DOp(
            op.name, op.inputs[0], *to.weights(op, Layout.OHWI), op.output, op.stride, op.dilation,
            (pad.top, pad.bottom, pad.left, pad.right), op.groups, how.low, how.high,
        )
    )  # fmt: skip


def _dense(to: _Translation, op: Any) -> None:
    how = op.requantize
    to.ops.append(LinearOp(op.name, op.inputs[0], *to.weights(op, Layout.OI), op.output, how.low, how.high))


def _add(to: _Translation, op: Any) -> None:
    low, high = activation_range(op.activation, to.graph.tensors[op.output])
    first, second = op.inputs
    to.ops.append(AddOp(op.name, first, second, op.output, low, high))


def _pool(to: _Translation, op: Any) -> None:
    profile = AVERAGE_POOL_PROFILE_TFLITE_RAW_V1
    to.ops.append(AveragePool2DOp(op.name, op.inputs[0], op.output, op.kernel, op.stride, arithmetic_profile=profile))


def _flatten(to: _Translation, op: Any) -> None:
    to.ops.append(FlattenOp(op.name, op.inputs[0], op.output))


_TRANSLATORS: dict[type[Op], Callable[[_Translation, Any], None]] = {
    Conv2D: _conv,
    Dense: _dense,
    Add: _add,
    AvgPool: _pool,
    Flatten: _flatten,
}
