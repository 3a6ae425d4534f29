# SPDX-License-Identifier: Apache-2.0
"""One project per board, built at the same time, in a folder with a space in its name."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from acsgen.target.boards import Board, list_boards, load_board
from acsgen.target.build import BuildResult, build
from acsgen.target.emulator import transports
from tests.target.fake_project import make_project

#: Of the boards in the normal tests: a chip, and the emulator's reference. With --all-boards it is every one in QEMU.
BOARDS = ("mps2-an386", "stm32f405")


def boards_of(config: pytest.Config) -> list[str]:
    emulated = [name for name in list_boards() if load_board(name).emulator]
    return emulated if config.getoption("--all-boards") else list(BOARDS)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with a board runs on each, one with a transport on each way that a board's emulator has."""
    if "board_name" not in metafunc.fixturenames:
        return
    boards = [load_board(name) for name in boards_of(metafunc.config)]
    if "transport" in metafunc.fixturenames:
        ways = [(board.name, transport) for board in boards for transport in transports(board)]
        metafunc.parametrize(("board_name", "transport"), ways)
    elif metafunc.definition.get_closest_marker("uart"):
        metafunc.parametrize("board_name", [board.name for board in boards if "uart" in transports(board)])
    else:
        metafunc.parametrize("board_name", [board.name for board in boards])


@pytest.fixture(scope="session")
def builds(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, BuildResult]:
    folder = tmp_path_factory.mktemp("many projects")
    names = boards_of(request.config)
    projects = [make_project(folder / name, load_board(name)) for name in names]
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(names, pool.map(build, projects), strict=True))


@pytest.fixture
def board(board_name: str) -> Board:
    return load_board(board_name)


@pytest.fixture
def firmware(board: Board, builds: dict[str, BuildResult]) -> BuildResult:
    return builds[board.name]
