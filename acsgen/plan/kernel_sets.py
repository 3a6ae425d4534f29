# SPDX-License-Identifier: Apache-2.0
"""The kernel sets: one row each.

All sets compute the same bits. A row says what planning and emitting must know of a set: the memory that its
kernels work in, the flash that they take, and whose sources they stand on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

from acsgen.plan import rv32_forms
from acsgen.plan.acs_forms import conv_forms, depthwise_scratch
from acsgen.plan.conv_case import ConvCase, Form

Pair = tuple[int, int]
Scratch = Callable[[Pair, int], int]
"""Bytes of scratch of a kernel: (kernel size, input channels of one group) -> bytes."""


def no_scratch(kernel: Pair, channels: int) -> int:
    """Of a kernel that reads its input where it lies."""
    return 0


DepthwiseScratch = Callable[[Pair, int, int], int]
"""The same of a depthwise convolution: (kernel size, channels of one group, input columns of a row) -> bytes."""


def no_depthwise_scratch(kernel: Pair, channels: int, columns: int) -> int:
    """Of a kernel that reads its input where it lies."""
    return 0


@dataclass(frozen=True)
class KernelSet:
    """A kernel set.

    name: as the user gives it. files: its sources, patterns below `firmware/kernels`. library: other people's sources
    that it calls, a key of `acsgen.emit.libraries.LIBRARIES`, or None. packs: `acs_conv_join_s8` gathers the active
    input channels, and where it pays their weights, before it convolves, and `acs_conv_s8` those of several output
    groups; else both are read where they are. code_bytes: flash that a kernel takes when a model uses it, library
    included: the least over the boards that the set runs on. band_bytes: a convolution that is added to a residual
    keeps rows of about so many bytes in its scratch, at least one.
    conv_forms: the forms that a convolution's constants may be emitted in, the one with the least constants first;
    None: plain ones always, and `conv_scratch` and `band_bytes` say what scratch they take.
    """

    name: str
    files: tuple[str, ...]
    library: str | None
    packs: bool
    code_bytes: Mapping[str, int]
    band_bytes: int = 0
    conv_scratch: Scratch = no_scratch
    depthwise_scratch: DepthwiseScratch = no_depthwise_scratch
    avg_pool_scratch: Scratch = no_scratch
    conv_forms: Callable[[ConvCase], tuple[Form, ...]] | None = None


def _im2col_bytes(kernel: Pair, channels: int) -> int:
    """Upper bound over CMSIS-NN releases and cores: four columns of int8 in full registers, or two of int16."""
    column = prod(kernel) * channels
    return max(4 * (-(-column // 16) * 16), 4 * column) + 16


CMSIS_NN = KernelSet(
    name="cmsis_nn",
    files=("cmsis_nn/*.[ch]",),
    library="cmsis_nn",
    packs=True,
    band_bytes=1024,
    code_bytes={"conv": 4400, "depthwise": 4700, "max_pool": 750, "avg_pool": 600, "add": 430},
    conv_scratch=_im2col_bytes,
    depthwise_scratch=lambda kernel, channels, columns: 4 * prod(kernel) * max(channels, 124) + 16,
    avg_pool_scratch=lambda kernel, channels: 4 * channels,
)

PORTABLE = KernelSet(
    name="portable",
    files=("portable/*.[ch]",),
    library=None,
    packs=False,
    code_bytes={"conv": 1000, "depthwise": 600, "max_pool": 400, "avg_pool": 400, "add": 430},
)

#: All of `portable` but the names that make it a kernel set.
_PORTABLE_KERNELS = tuple(f"portable/acs_portable_{kernel}.c" for kernel in ("conv", "depthwise", "pool"))

ACS = KernelSet(
    name="acs",
    files=("acs/*.[chS]", "portable/acs_portable.h", *_PORTABLE_KERNELS),
    library=None,
    packs=False,
    code_bytes={"conv": 10000, "depthwise": 2400, "max_pool": 400, "avg_pool": 400, "add": 430},
    conv_forms=conv_forms,
    depthwise_scratch=depthwise_scratch,
)

ACS_RV32 = KernelSet(
    name="acs_rv32",
    files=(
        "acs_rv32/*.[chS]",
        *(f"acs/acs_dsp{file}" for file in (".h", "_conv.c")),
        "portable/acs_portable.h",
        *_PORTABLE_KERNELS,
    ),
    library=None,
    packs=False,
    code_bytes={"conv": 12500, "depthwise": 4500, "max_pool": 400, "avg_pool": 400, "add": 430},
    conv_forms=rv32_forms.conv_forms,
    depthwise_scratch=rv32_forms.depthwise_scratch,
)

KERNEL_SETS: Mapping[str, KernelSet] = {kernels.name: kernels for kernels in (CMSIS_NN, PORTABLE, ACS, ACS_RV32)}
