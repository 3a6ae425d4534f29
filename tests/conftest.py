# SPDX-License-Identifier: Apache-2.0
"""What programs print does not depend on who runs the tests, and where; and how many boards they run on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

#: By these rich and typer take a pipe for a terminal, or a terminal for one of another width.
PRESENTATION = ("FORCE_COLOR", "GITHUB_ACTIONS", "CLICOLOR_FORCE", "PY_COLORS", "COLUMNS", "TERMINAL_WIDTH")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all-boards", action="store_true", help="Tests on boards take every board, not a few.")


@pytest.fixture(scope="session", autouse=True)
def plain_output() -> Iterator[None]:
    """For this process and, since it comes before everything else, for all that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        for name in PRESENTATION:
            patch.delenv(name, raising=False)
        patch.setenv("NO_COLOR", "1")
        patch.setenv("TERM", "dumb")
        yield
