# SPDX-License-Identifier: Apache-2.0
"""One project per board, both built at the same time, in a folder with a space in its name."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from acsgen.target.boards import Board, load_board
from acsgen.target.build import BuildResult, build
from tests.target.fake_project import make_project

BOARDS = ("mps2-an386", "stm32f405")


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, BuildResult]:
    folder = tmp_path_factory.mktemp("two projects")
    projects = [make_project(folder / name, load_board(name)) for name in BOARDS]
    with ThreadPoolExecutor() as pool:
        return dict(zip(BOARDS, pool.map(build, projects), strict=True))


@pytest.fixture(params=BOARDS)
def board(request: pytest.FixtureRequest) -> Board:
    return load_board(request.param)


@pytest.fixture
def firmware(board: Board, builds: dict[str, BuildResult]) -> BuildResult:
    return builds[board.name]
