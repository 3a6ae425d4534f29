# SPDX-License-Identifier: Apache-2.0
"""The command line in this process, in a process of its own, and a project to use it on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from acsgen.cli import app
from acsgen.emit.project import generate
from acsgen.target.boards import load_board
from acsgen.target.build import build
from tests.models import write_model, write_samples


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """The one line that says why, after exit code 2 and nothing on stdout."""
        assert (self.code, self.out) == (2, ""), self
        assert self.err.startswith("acsgen: ") and self.err.endswith("\n") and self.err.count("\n") == 1, self.err
        return self.err.removeprefix("acsgen: ").rstrip("\n")


Run = Callable[..., Outcome]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in this process."""
    monkeypatch.delenv("COLUMNS", raising=False)

    def run(*arguments: str | Path) -> Outcome:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run


def in_a_process(*arguments: str | Path, prelude: str = "", **options: Any) -> Outcome:
    """Runs a command in a process of its own, after a few lines of Python."""
    code = f"{prelude}\nfrom acsgen.cli import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, **options
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_samples(tmp_path_factory.mktemp("samples") / "samples.npz")


@pytest.fixture(scope="session")
def built(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of the small model, built; not to be changed."""
    project = tmp_path_factory.mktemp("built") / "firmware"
    generate(model, load_board("stm32f405"), project)
    build(project)
    return project
