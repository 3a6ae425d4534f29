# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from acsgen.emit import cmsis
from acsgen.target.boards import Board, load_board
from tests.models import write_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def board() -> Board:
    return load_board("stm32f405")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """CMSIS-NN laid out as upstream has it: Include, Source, LICENSE, and much that is not needed."""
    root = tmp_path / "CMSIS-NN"
    vendored, _ = cmsis._bakenn_roots()
    for name in ("Include", "Source"):
        shutil.copytree(vendored / name, root / name)
    shutil.copy(vendored / "LICENSE.txt", root / "LICENSE")
    (root / "README.md").write_text("CMSIS NN\n")
    (root / "Tests" / "UnitTest").mkdir(parents=True)
    (root / "Tests" / "UnitTest" / "arm_convolve_wrapper_s8.c").write_text("int arm_convolve_wrapper_s8(void) { }\n")
    return root
