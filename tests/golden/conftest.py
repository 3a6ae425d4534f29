# SPDX-License-Identifier: Apache-2.0
"""CMSIS-NN, compiled once per session."""

from __future__ import annotations

import ctypes

import pytest

from tests.oracle import cmsis


@pytest.fixture(scope="session")
def cmsis_nn(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return cmsis.build(tmp_path_factory.mktemp("cmsis_nn"))
