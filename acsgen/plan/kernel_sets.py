# SPDX-License-Identifier: Apache-2.0
"""The kernel sets: one row each.

All sets compute the same bits. A row says what planning and emitting must know of a set: the memory that its
kernels work in, the flash that they take, and whose sources they stand on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod

from acsgen.plan import rv32_forms
from acsgen.plan.acs_forms import conv_forms, depthwise_scratch
from acsgen.plan.conv_case import ConvCase, Form
from acsgen.plan.esp_scratch import s3_scratch
from acsgen.plan.helium_forms import helium_forms

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
    groups; else both are read where they are, but for plain constants and groups of fewer channels than small_group
    in images of more than a few pixels. code_bytes: flash that a kernel takes when a model uses it, library included:
    the least over the boards that the set runs on. band_bytes: a convolution that is added to a residual keeps rows
    of about so many bytes in its scratch, at least one. conv_forms: the forms that a convolution's constants may be
    emitted in, the one with the least constants first; None: plain ones always, and `conv_scratch` and `band_bytes` say
    what scratch they take. call_scratch: bytes of scratch that one call of a library's convolution takes besides.
    together: several output groups that read one image are gathered into one call where there is scratch for it.
    least_group: channels from which on skipping a group pays.
    """

    name: str
    files: tuple[str, ...]
    library: str | None
    packs: bool
    small_group: int
    code_bytes: Mapping[str, int]
    band_bytes: int = 0
    conv_scratch: Scratch = no_scratch
    depthwise_scratch: DepthwiseScratch = no_depthwise_scratch
    avg_pool_scratch: Scratch = no_scratch
    call_scratch: Callable[[ConvCase], int] | None = None
    together: bool = False
    least_group: int = 1
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
    small_group=0,
    band_bytes=1024,
    together=True,
    code_bytes={"conv": 4400, "depthwise": 5100, "max_pool": 750, "avg_pool": 600, "add": 430},
    conv_scratch=_im2col_bytes,
    depthwise_scratch=lambda kernel, channels, columns: 4 * prod(kernel) * max(channels, 124) + 16,
    avg_pool_scratch=lambda kernel, channels: 4 * channels,
)

PORTABLE = KernelSet(
    name="portable",
    files=("portable/*.[ch]",),
    library=None,
    packs=False,
    small_group=16,
    code_bytes={"conv": 1000, "depthwise": 1000, "max_pool": 400, "avg_pool": 400, "add": 430},
)

#: All of `portable` but the names that make it a kernel set.
_PORTABLE_KERNELS = tuple(f"portable/acs_portable_{kernel}.c" for kernel in ("conv", "depthwise", "pool"))

ACS = KernelSet(
    name="acs",
    files=("acs/*.[chS]", "portable/acs_portable.h", *_PORTABLE_KERNELS),
    library=None,
    packs=False,
    small_group=0,
    least_group=4,
    code_bytes={"conv": 10000, "depthwise": 2400, "max_pool": 400, "avg_pool": 400, "add": 430},
    conv_forms=conv_forms,
    depthwise_scratch=depthwise_scratch,
)

#: All of `cmsis_nn` but the names of its convolutions; those of other kinds than the set's own keep its constants.
_CMSIS_NN_KERNELS = tuple(f"cmsis_nn/acs_cmsis_{kernel}.c" for kernel in ("conv", "together", "depthwise", "pool"))

ACS_HELIUM = replace(
    CMSIS_NN,
    name="acs_helium",
    files=("acs_helium/*.[chS]", "cmsis_nn/acs_cmsis.h", *_CMSIS_NN_KERNELS),
    code_bytes={**CMSIS_NN.code_bytes, "conv": 20400},
    conv_forms=helium_forms,
)

ACS_RV32 = KernelSet(
    name="acs_rv32",
    files=(
        "acs_rv32/*.[chS]",
        *(f"acs/acs_dsp{file}" for file in (".h", "_conv.c")),
        "acs/acs_uses.h",
        "acs/acs_winograd_fold.h",
        "portable/acs_portable.h",
        *_PORTABLE_KERNELS,
    ),
    library=None,
    packs=False,
    small_group=16,
    code_bytes={"conv": 12500, "depthwise": 4500, "max_pool": 400, "avg_pool": 400, "add": 430},
    conv_forms=rv32_forms.conv_forms,
    depthwise_scratch=rv32_forms.depthwise_scratch,
)

#: For cores that the assembly is not for: its twins in C.
ACS_C = replace(ACS_RV32, name="acs_c", code_bytes={**ACS_RV32.code_bytes, "conv": 12300, "depthwise": 3800})

ESP_NN = KernelSet(
    name="esp_nn",
    files=("esp_nn/*.[ch]", "portable/acs_portable.h", *_PORTABLE_KERNELS[:2]),
    library="esp_nn",
    packs=True,
    small_group=0,
    band_bytes=1024,
    code_bytes={"conv": 3300, "depthwise": 1950, "max_pool": 550, "avg_pool": 400, "add": 430},
)

#: The same with room for the vector code of the ESP32-S3, which prepares its filters in every call: few calls.
ESP_NN_S3 = replace(ESP_NN, name="esp_nn_s3", band_bytes=4096, call_scratch=s3_scratch)

KERNEL_SETS: Mapping[str, KernelSet] = {
    kernels.name: kernels for kernels in (CMSIS_NN, PORTABLE, ACS, ACS_HELIUM, ACS_RV32, ACS_C, ESP_NN, ESP_NN_S3)
}
