# SPDX-License-Identifier: Apache-2.0
"""The runtime with every kernel set for the host, each compiled once per session."""

from __future__ import annotations

from pathlib import Path

import pytest

from acsgen.plan import KERNEL_SETS
from tests.firmware.host import Kit, build_kernels, build_kit


@pytest.fixture(scope="session", params=KERNEL_SETS)
def kit(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return build_kit(tmp_path_factory.mktemp("kit"), KERNEL_SETS[request.param])


@pytest.fixture(scope="session")
def kernels(kit: Kit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that calls single functions of the runtime."""
    return build_kernels(kit, tmp_path_factory.mktemp("kernels"))
