# SPDX-License-Identifier: Apache-2.0
"""The runtime with every kernel set, each compiled once per session."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from acsgen.plan import KERNEL_SETS
from tests.firmware.host import Kernels, Kit, build_kernels, build_kit
from tests.firmware.qemu import build_kernels_for_qemu

#: Kernel sets of which a board runs other code than the host, and that board.
IN_QEMU = {"acs": "mps2-an386", "acs_helium": "mps3-an547", "acs_rv32": "riscv32-virt", "acs_c": "xtensa-sim"}

#: Kernel sets for the host: `acs_c` is `acs_rv32` there.
ON_HOST = [name for name in KERNEL_SETS if name != "acs_c"]
#: Those that all random networks are compiled with; test_esp_nn.py has fewer for the others.
OWN = [name for name in ON_HOST if not name.startswith("esp_nn")]


@pytest.fixture(scope="session")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Kit]:
    """For the host, by the name of the kernel set."""
    return cache(lambda name: build_kit(tmp_path_factory.mktemp("kit"), KERNEL_SETS[name]))


@pytest.fixture(scope="session", params=OWN)
def kit(request: pytest.FixtureRequest, kits: Callable[[str], Kit]) -> Kit:
    return kits(request.param)


@pytest.fixture(scope="session")
def kernels(kit: Kit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that calls single functions of the runtime, for the host."""
    return build_kernels(kit, tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="session")
def programs(kits: Callable[[str], Kit], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Kernels]:
    """By the name of a kernel set, with "-qemu" behind it for a Cortex-M."""

    def built(name: str) -> Kernels:
        kernels, _, where = name.partition("-")
        kernel_set, folder = KERNEL_SETS[kernels], tmp_path_factory.mktemp("judged")
        if where:
            return Kernels(kernel_set, build_kernels_for_qemu(kernel_set, IN_QEMU[kernels], folder))
        return Kernels(kernel_set, build_kernels(kits(kernels), folder))

    return cache(built)


@pytest.fixture(scope="session", params=[*ON_HOST, *(f"{name}-qemu" for name in IN_QEMU)])
def judged(request: pytest.FixtureRequest, programs: Callable[[str], Kernels]) -> Kernels:
    """The same program with every kernel set, on the host and where it differs in QEMU."""
    return programs(request.param)
