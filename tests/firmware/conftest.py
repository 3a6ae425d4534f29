# SPDX-License-Identifier: Apache-2.0
"""Runtime, kernels and CMSIS-NN for the host, compiled once per session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.firmware.host import Kit, build_kernels, build_kit


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return build_kit(tmp_path_factory.mktemp("kit"))


@pytest.fixture(scope="session")
def kernels(kit: Kit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that calls single functions of the runtime."""
    return build_kernels(kit, tmp_path_factory.mktemp("kernels"))
