# SPDX-License-Identifier: Apache-2.0
"""The kernel sets: one row for each folder of `firmware/kernels`.

All sets compute the same bits. A row says what planning and emitting must know of a set: the memory that its
kernels work in, the flash that they take, and whose sources they stand on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

Pair = tuple[int, int]
Scratch = Callable[[Pair, int], int]
"""Bytes of scratch of a kernel: (kernel size, input channels of one group) -> bytes."""


def no_scratch(kernel: Pair, channels: int) -> int:
    """Of a kernel that reads its input where it lies."""
    return 0


@dataclass(frozen=True)
class KernelSet:
    """A kernel set.

    name: its folder in `firmware/kernels`. library: other people's sources that it calls, a key of
    `acsgen.emit.libraries.LIBRARIES`, or None. packs: `acs_conv_join_s8` gathers the active input channels, and
    where it pays their weights, before it convolves, and `acs_conv_s8` those of several output groups; else both
    are read where they are, but for groups of fewer channels than small_group in images of more than a few pixels.
    code_bytes: flash that a kernel takes when a model uses it, library included: the least over the boards that the
    set runs on. band_bytes: a convolution that is added to a residual keeps rows of about so many bytes in its
    scratch, at least one.
    """

    name: str
    library: str | None
    packs: bool
    small_group: int
    code_bytes: Mapping[str, int]
    band_bytes: int = 0
    conv_scratch: Scratch = no_scratch
    depthwise_scratch: Scratch = no_scratch
    avg_pool_scratch: Scratch = no_scratch


def _im2col_bytes(kernel: Pair, channels: int) -> int:
    """Upper bound over CMSIS-NN releases and cores: four columns of int8 in full registers, or two of int16."""
    column = prod(kernel) * channels
    return max(4 * (-(-column // 16) * 16), 4 * column) + 16


CMSIS_NN = KernelSet(
    name="cmsis_nn",
    library="cmsis_nn",
    packs=True,
    small_group=0,
    band_bytes=1024,
    code_bytes={"conv": 4400, "depthwise": 5100, "max_pool": 750, "avg_pool": 600, "add": 430},
    conv_scratch=_im2col_bytes,
    depthwise_scratch=lambda kernel, channels: 4 * prod(kernel) * max(channels, 124) + 16,
    avg_pool_scratch=lambda kernel, channels: 4 * channels,
)

PORTABLE = KernelSet(
    name="portable",
    library=None,
    packs=False,
    small_group=16,
    code_bytes={"conv": 1000, "depthwise": 1000, "max_pool": 400, "avg_pool": 400, "add": 430},
)

KERNEL_SETS: Mapping[str, KernelSet] = {kernels.name: kernels for kernels in (CMSIS_NN, PORTABLE)}
