# SPDX-License-Identifier: Apache-2.0
"""Calls of the runtime's functions on the host, and layouts and lists in numpy."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acsgen.emit.sums import LinearSum
from acsgen.golden.arithmetic import activation_range
from acsgen.golden.operators import add_constants
from acsgen.graph import Add, Tensor
from tests.firmware.host import Reader, run_program

Int8 = NDArray[np.int8]

#: As in host/run_kernel.c, in this order.
FUNCTIONS = (
    "add", "rescale", "clamp", "copy", "shuffle", "ungroup", "group",
    "list", "gate", "apply_mask", "conv", "conv_join", "depthwise", "pool", "concat", "pad",
    "residual", "join", "make_list", "mask_channels",
)  # fmt: skip

#: What lies in an output before a call.
POISON = 0x5B


@dataclass(frozen=True)
class List:
    """The active ones of `groups` groups, ascending."""

    groups: int
    index: tuple[int, ...]

    def expanded(self, groups: int) -> list[int]:
        """The active ones of a finer division into `groups`."""
        each = groups // self.groups
        return [g * each + i for g in self.index for i in range(each)]


def expanded(active: List | None, groups: int) -> list[int]:
    """NULL stands for all groups."""
    return list(range(groups)) if active is None else active.expanded(groups)


def request(function: str, *arguments: Any) -> bytes:
    """One call. Arguments: numbers, tuples of numbers, arrays (as they are), lists of groups or None."""
    return struct.pack("<I", FUNCTIONS.index(function)) + b"".join(map(_encode, arguments))


def call(program: Path, *requests: bytes) -> Reader:
    """Makes the calls in one process; what they wrote comes one after the other."""
    return Reader(run_program(program, b"".join(requests)))


def _encode(argument: Any) -> bytes:
    if argument is None:
        return struct.pack("<ii", 1, -1)
    if isinstance(argument, List):
        return struct.pack("<ii", argument.groups, len(argument.index)) + bytes(argument.index)
    if isinstance(argument, np.ndarray):
        return argument.tobytes()
    if isinstance(argument, tuple):
        return b"".join(map(_encode, argument))
    return struct.pack("<i", int(argument))


def add_fields(op: Add, coarse: Tensor, fine: Tensor, total: Tensor, factors: LinearSum | None) -> tuple[Any, ...]:
    """An acs_add_t behind its `count`; without factors the sum is computed by its definition."""
    constants = add_constants(coarse, fine, total)
    return (
        tuple(tensor.zero_point for tensor in (coarse, fine, total)),
        activation_range(op.activation, total),
        (constants.multiplier_b, constants.shift_b, constants.multiplier, constants.shift),
        factors or (0, 0, 0, 0),
    )


def random_list(rng: np.random.Generator, groups: int) -> List | None:
    """None, empty, single, full, or any; of as many groups or fewer, of which each stands for several."""
    own = int(rng.choice([d for d in range(1, min(groups, 256) + 1) if groups % d == 0]))
    count = int(rng.choice([0, 1, own, int(rng.integers(0, own + 1))]))
    index = tuple(sorted(rng.choice(own, count, replace=False).tolist()))
    return None if rng.random() < 0.15 else List(own, index)


def grouped(image: Int8, groups: int) -> Int8:
    """NHWC (H, W, C) as [group][H][W][C / groups]."""
    height, width, channels = image.shape
    return np.ascontiguousarray(image.reshape(height, width, groups, channels // groups).transpose(2, 0, 1, 3))


def channels_of(active: list[int], groups: int, channels: int) -> list[int]:
    """The channels of the active groups."""
    each = channels // groups
    return [g * each + i for g in active for i in range(each)]


def take_array(reader: Reader, shape: tuple[int, ...], dtype: type[np.generic] = np.int8) -> NDArray[Any]:
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(reader.take(count), dtype).reshape(shape)


def take_number(reader: Reader) -> int:
    return int(np.frombuffer(reader.take(4), np.int32)[0])
