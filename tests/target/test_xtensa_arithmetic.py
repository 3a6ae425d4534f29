# SPDX-License-Identifier: Apache-2.0
"""What the lx106's compiler library lacks, compiled for the host and held against Python's integers."""

from __future__ import annotations

import ctypes
import subprocess

import numpy as np
import pytest

from acsgen.resources import resource_dir

WORD, DOUBLE = 1 << 32, 1 << 64
ENDS = [0, 1, 2, 3, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFE, 0xFFFFFFFF]
FUNCTIONS = ("muldi3", "udivsi3", "umodsi3", "divsi3")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """Under other names: the host has functions of these."""
    path = tmp_path_factory.mktemp("arithmetic") / "arithmetic.so"
    source = resource_dir("firmware") / "ports" / "xtensa" / "arithmetic.c"
    names = [f"-D__{name}=lx_{name}" for name in FUNCTIONS]
    subprocess.run(["gcc", "-std=c11", "-O2", "-shared", "-fPIC", *names, source, "-o", path], check=True)
    loaded = ctypes.CDLL(str(path))
    loaded.lx_muldi3.argtypes, loaded.lx_muldi3.restype = [ctypes.c_uint64] * 2, ctypes.c_uint64
    for name in ("lx_udivsi3", "lx_umodsi3"):
        function = getattr(loaded, name)
        function.argtypes, function.restype = [ctypes.c_uint32] * 2, ctypes.c_uint32
    loaded.lx_divsi3.argtypes, loaded.lx_divsi3.restype = [ctypes.c_int32] * 2, ctypes.c_int32
    return loaded


def words() -> list[int]:
    rng = np.random.default_rng(0)
    return [*ENDS, *(int(value) >> int(shift) for value, shift in rng.integers(0, [WORD, 32], (40, 2)))]


def test_product_of_64_bits(library: ctypes.CDLL) -> None:
    rng = np.random.default_rng(1)
    values = [*ENDS, *(DOUBLE - end for end in ENDS[1:]), *(int.from_bytes(rng.bytes(8), "little") for _ in range(40))]
    for a in values:
        for b in values:
            assert library.lx_muldi3(a, b) == a * b % DOUBLE, (a, b)


def test_quotients_and_remainders(library: ctypes.CDLL) -> None:
    for a in words():
        for b in filter(None, words()):
            assert library.lx_udivsi3(a, b) == a // b, (a, b)
            assert library.lx_umodsi3(a, b) == a % b, (a, b)
            signed_a, signed_b = (value - WORD * (value >= WORD // 2) for value in (a, b))
            if (signed_a, signed_b) == (-WORD // 2, -1):
                continue  # the quotient that is no int32
            quotient = abs(signed_a) // abs(signed_b) * (-1 if (signed_a < 0) != (signed_b < 0) else 1)
            assert library.lx_divsi3(signed_a, signed_b) == quotient, (signed_a, signed_b)
