# SPDX-License-Identifier: Apache-2.0
"""CMSIS-NN as a judge of int8 operators: its own C, compiled for the host.

`build` compiles the sources that the bakenn wheel carries into a shared library; `compute` calls it
sample by sample, a grouped convolution once per group, as the firmware does. CMSIS-NN gets our
multipliers, so it judges sums, rounding, padding and clamps.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from ctypes import POINTER, Structure, c_int32, c_void_p
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.graph.ir import Tensor
from acsgen.graph.ops import AvgPool, Conv2D, Dense, DepthwiseConv2D, MaxPool, Op, Pair, Requantize, Shape

Array = NDArray[Any]
Int8 = NDArray[np.int8]

#: arm_nn_requantize is inline in a header; this makes it callable, over an array.
SHIM = """
#include "arm_nnsupportfunctions.h"
void oracle_requantize(int32_t n, const int32_t *val, const int32_t *mult, const int32_t *shift, int32_t *out)
{
    for (int32_t i = 0; i < n; i++) out[i] = arm_nn_requantize(val[i], mult[i], shift[i]);
}
"""


class Context(Structure):
    _fields_ = [("buf", c_void_p), ("size", c_int32)]


class Dims(Structure):
    _fields_ = [(name, c_int32) for name in "nhwc"]


class Tile(Structure):
    _fields_ = [("w", c_int32), ("h", c_int32)]


class Clamp(Structure):
    _fields_ = [("min", c_int32), ("max", c_int32)]


class ChannelQuant(Structure):
    _fields_ = [("multiplier", POINTER(c_int32)), ("shift", POINTER(c_int32))]


class TensorQuant(Structure):
    _fields_ = [("multiplier", c_int32), ("shift", c_int32)]


class ConvParams(Structure):
    _fields_ = [
        ("input_offset", c_int32),
        ("output_offset", c_int32),
        ("stride", Tile),
        ("padding", Tile),
        ("dilation", Tile),
        ("activation", Clamp),
    ]


class DepthwiseParams(Structure):
    _fields_ = [
        ("input_offset", c_int32),
        ("output_offset", c_int32),
        ("ch_mult", c_int32),
        ("stride", Tile),
        ("padding", Tile),
        ("dilation", Tile),
        ("activation", Clamp),
    ]


class PoolParams(Structure):
    _fields_ = [("stride", Tile), ("padding", Tile), ("activation", Clamp)]


class DenseParams(Structure):
    _fields_ = [
        ("input_offset", c_int32),
        ("filter_offset", c_int32),
        ("output_offset", c_int32),
        ("activation", Clamp),
    ]


def build(folder: Path) -> ctypes.CDLL:
    """Compiles CMSIS-NN into `folder` and loads it; raises where gcc is missing or fails."""
    vendor = Path(str(files("bakenn"))) / "backend" / "cmsis_nn" / "vendor"
    sources = sorted((vendor / "cmsis_nn" / "Source").rglob("*.c"))
    if not sources:
        raise FileNotFoundError(f"no CMSIS-NN sources below {vendor}")
    shim, library = folder / "oracle_shim.c", folder / "libcmsis_nn.so"
    shim.write_text(SHIM)
    # __GNUC_PYTHON__ is CMSIS-NN's own switch for a host without Arm's intrinsics; it forgets __RESTRICT.
    flags = ["-std=gnu11", "-O2", "-fPIC", "-shared", "-D__GNUC_PYTHON__", "-D__RESTRICT=__restrict"]
    command = [
        "gcc",
        *flags,
        f"-I{vendor / 'cmsis_nn' / 'Include'}",
        *map(str, sources),
        str(shim),
        "-o",
        str(library),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"gcc cannot build CMSIS-NN for the host:\n{result.stderr}")
    return ctypes.CDLL(str(library))


def compute(
    library: ctypes.CDLL, op: Op, values: tuple[Int8, ...], sources: tuple[Tensor, ...], target: Tensor
) -> Int8:
    """The output of `op` for `values` (N, ...) by CMSIS-NN."""
    kernel = KERNELS[type(op)]
    shape = op.output_shape(values[0].shape[1:])
    samples = [kernel(library, op, x, sources[0], target, shape) for x in values[0]]
    return np.stack(samples).reshape(len(values[0]), *shape)


def requantize(library: ctypes.CDLL, acc: Array, multiplier: Array, shift: Array) -> NDArray[np.int32]:
    """arm_nn_requantize of three int32 arrays of one length."""
    arrays = [np.ascontiguousarray(a, np.int32) for a in (acc, multiplier, shift)]
    out = np.empty(len(arrays[0]), np.int32)
    library.oracle_requantize(len(out), *map(_pointer, arrays), _pointer(out))
    return out


def _conv2d(lib: ctypes.CDLL, op: Conv2D, x: Int8, source: Tensor, target: Tensor, shape: Shape) -> Int8:
    if op.groups > 1:
        return _grouped(lib, op, x, source, target, shape)
    params = ConvParams(
        -source.zero_point, target.zero_point, _tile(op.stride), _pad(op), _tile(op.dilation), _clamp(op)
    )
    filters = Dims(len(op.weights), *op.kernel, op.weights.shape[3])
    return _convolve(lib, "arm_convolve_wrapper_s8", params, op, x, filters, op.weights, shape)


def _grouped(lib: ctypes.CDLL, op: Conv2D, x: Int8, source: Tensor, target: Tensor, shape: Shape) -> Int8:
    assert op.requantize is not None
    how: Requantize = op.requantize
    parts: list[Int8] = []
    for index in np.split(np.arange(op.out_channels), op.groups):
        channels = np.split(x, op.groups, axis=2)[len(parts)]
        one = replace(
            op,
            weights=op.weights[index],
            bias=op.bias[index],
            groups=1,
            requantize=replace(how, multiplier=how.multiplier[index], shift=how.shift[index]),
        )
        parts.append(_conv2d(lib, one, channels, source, target, (*shape[:2], len(index))))
    return np.concatenate(parts, axis=2)


def _depthwise(lib: ctypes.CDLL, op: DepthwiseConv2D, x: Int8, source: Tensor, target: Tensor, shape: Shape) -> Int8:
    params = DepthwiseParams(
        -source.zero_point, target.zero_point, 1, _tile(op.stride), _pad(op), _tile(op.dilation), _clamp(op)
    )
    filters = Dims(1, *op.kernel, op.weights.shape[2])
    return _convolve(lib, "arm_depthwise_conv_wrapper_s8", params, op, x, filters, op.weights, shape)


def _convolve(
    lib: ctypes.CDLL,
    function: str,
    params: ConvParams | DepthwiseParams,
    op: Conv2D | DepthwiseConv2D,
    x: Int8,
    filters: Dims,
    weights: Array,
    shape: Shape,
) -> Int8:
    assert op.requantize is not None
    image, output, bias = Dims(1, *x.shape), Dims(1, *shape), Dims(0, 0, 0, shape[2])
    arrays = [
        np.ascontiguousarray(a, dtype)
        for a, dtype in (
            (x, np.int8),
            (weights, np.int8),
            (op.bias, np.int32),
            (op.requantize.multiplier, np.int32),
            (op.requantize.shift, np.int32),
        )
    ]
    quant = ChannelQuant(*(a.ctypes.data_as(POINTER(c_int32)) for a in arrays[3:]))
    sized = getattr(lib, f"{function}_get_buffer_size")
    context, _scratch = _context(sized(*map(ctypes.byref, (params, image, filters, output))))
    result = np.empty(shape, np.int8)
    status = getattr(lib, function)(
        *map(ctypes.byref, (context, params, quant, image)),
        _pointer(arrays[0]),
        ctypes.byref(filters),
        _pointer(arrays[1]),
        ctypes.byref(bias),
        _pointer(arrays[2]),
        ctypes.byref(output),
        _pointer(result),
    )
    return _checked(function, status, result)


def _dense(lib: ctypes.CDLL, op: Dense, x: Int8, source: Tensor, target: Tensor, shape: Shape) -> Int8:
    how = op.requantize
    assert how is not None
    if len({*how.multiplier.tolist()}) > 1 or len({*how.shift.tolist()}) > 1:
        raise ValueError("arm_fully_connected_s8 knows one scale for all outputs only")
    params = DenseParams(-source.zero_point, 0, target.zero_point, Clamp(how.low, how.high))
    quant = TensorQuant(int(how.multiplier[0]), int(how.shift[0]))
    outputs, inputs = op.weights.shape
    arrays = [np.ascontiguousarray(a) for a in (x, op.weights, op.bias)]
    result = np.empty(shape, np.int8)
    context, _ = _context(0)
    status = lib.arm_fully_connected_s8(
        *map(ctypes.byref, (context, params, quant, Dims(1, 1, 1, inputs))),
        _pointer(arrays[0]),
        ctypes.byref(Dims(inputs, 1, 1, outputs)),
        _pointer(arrays[1]),
        ctypes.byref(Dims(0, 0, 0, outputs)),
        _pointer(arrays[2]),
        ctypes.byref(Dims(1, 1, 1, outputs)),
        _pointer(result),
    )
    return _checked("arm_fully_connected_s8", status, result)


def _pool(lib: ctypes.CDLL, op: MaxPool | AvgPool, x: Int8, source: Tensor, target: Tensor, shape: Shape) -> Int8:
    function = "arm_max_pool_s8" if isinstance(op, MaxPool) else "arm_avgpool_s8"
    params = PoolParams(_tile(op.stride), _pad(op), Clamp(-128, 127))
    context, _scratch = _context(lib.arm_avgpool_s8_get_buffer_size(shape[1], shape[2]))
    image, result = np.ascontiguousarray(x), np.empty(shape, np.int8)
    status = getattr(lib, function)(
        *map(ctypes.byref, (context, params, Dims(1, *x.shape))),
        _pointer(image),
        ctypes.byref(Dims(1, *op.kernel, 1)),
        ctypes.byref(Dims(1, *shape)),
        _pointer(result),
    )
    return _checked(function, status, result)


def _context(size: int) -> tuple[Context, Array]:
    """A scratch buffer of `size` bytes, and the array that keeps it alive."""
    scratch = np.zeros(max(size, 1), np.uint8)
    return Context(scratch.ctypes.data, size), scratch


def _tile(pair: Pair) -> Tile:
    return Tile(pair[1], pair[0])


def _pad(op: Conv2D | DepthwiseConv2D | MaxPool | AvgPool) -> Tile:
    """CMSIS-NN is told the zeros at the top left; those at the bottom right follow from the shapes."""
    return Tile(op.padding.left, op.padding.top)


def _clamp(op: Conv2D | DepthwiseConv2D) -> Clamp:
    assert op.requantize is not None
    return Clamp(op.requantize.low, op.requantize.high)


def _pointer(array: Array) -> c_void_p:
    return c_void_p(array.ctypes.data)


def _checked(function: str, status: int, result: Int8) -> Int8:
    if status:
        raise RuntimeError(f"{function} returned {status}")
    return result


KERNELS: dict[type[Op], Callable[[ctypes.CDLL, Any, Int8, Tensor, Tensor, Shape], Int8]] = {
    AvgPool: _pool,
    Conv2D: _conv2d,
    Dense: _dense,
    DepthwiseConv2D: _depthwise,
    MaxPool: _pool,
}
