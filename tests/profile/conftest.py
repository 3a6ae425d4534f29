# SPDX-License-Identifier: Apache-2.0
"""Projects with a gate, built; and the boards that tests run on."""

from __future__ import annotations

from pathlib import Path

import pytest

from acsgen.emit.project import generate
from acsgen.target.boards import list_boards, load_board
from acsgen.target.build import build
from tests.models import write_model


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with a project runs on the chip, with --all-boards on every board."""
    if "project" in metafunc.fixturenames:
        every = metafunc.config.getoption("--all-boards")
        metafunc.parametrize("project", list_boards() if every else ["stm32f405"], indirect=True, scope="session")


@pytest.fixture(scope="session")
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    folder = tmp_path_factory.mktemp("profile", numbered=True)
    made = folder / "a, project"
    generate(write_model(folder), load_board(request.param), made)
    build(made)
    return made
