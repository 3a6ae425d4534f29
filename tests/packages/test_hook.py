# SPDX-License-Identifier: Apache-2.0
"""PlatformIO generates a model's C when it builds a user's own program: when the model changed, and only then."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from acsgen.cli import app
from acsgen.emit.packages import generate_package
from acsgen.emit.project import generate
from acsgen.quantize.acsq import load_acsq
from acsgen.samples import load_samples
from acsgen.target.boards import load_board
from acsgen.verify import verify
from tests.models import write_samples
from tests.packages.conftest import Case
from tests.stubs import host_platform, platformio

GENERATING = "acsgen: generating the C of net.acsq"
#: Of environments in which the hook can start acsgen.
ACSGEN = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}


@pytest.fixture
def project(case: Case, tmp_path: Path) -> Path:
    """A user's own project for the host, whose program is the example of a package."""
    project = tmp_path / "a project"
    (project / "src").mkdir(parents=True)
    example = generate_package(case.model, "library", tmp_path / "example").path / "examples" / "run" / "main.c"
    shutil.copy(example, project / "src" / "main.c")
    shutil.copy(case.model, project / "net.acsq")
    assert CliRunner().invoke(app, ["hook", "-o", str(project / "acsgen_hook.py")]).exit_code == 0
    platform = host_platform(tmp_path / "platform", "host")
    (project / "platformio.ini").write_text(
        "[platformio]\nplatforms_dir = ${PROJECT_DIR}/.pio/platforms\npackages_dir = ${PROJECT_DIR}/.pio/packages\n"
        f"[env:host]\nplatform = symlink://{platform}\nboard = host\nextra_scripts = pre:acsgen_hook.py\n"
        "build_flags = -Wall -Wextra -Werror\ncustom_acsgen_model = net.acsq\n"
    )
    return project


def run(project: Path, case: Case) -> None:
    program = project / ".pio" / "build" / "host" / "program"
    case.check(subprocess.run([program], input=case.input, capture_output=True, check=True).stdout.decode())


def set_option(project: Path, line: str) -> None:
    ini = project / "platformio.ini"
    ini.write_text(f"{ini.read_text()}{line}\n")


def test_only_when_the_model_changed(
    project: Path, case: Case, cases: Callable[[str, int], Case], tmp_path: Path
) -> None:
    assert GENERATING in platformio(project, tmp_path, "run", **ACSGEN)
    run(project, case)
    os.utime(project / "net.acsq")
    said = platformio(project, tmp_path, "run", **ACSGEN)
    assert GENERATING not in said and "Compiling" not in said

    other = cases("net", 5)
    shutil.copy(other.model, project / "net.acsq")
    said = platformio(project, tmp_path, "run", **ACSGEN)
    assert GENERATING in said and "net_weights.o" in said and "acs_lists.o" not in said  # what changed, no more
    run(project, other)

    assert GENERATING not in platformio(project, tmp_path, "run", "-t", "clean", **ACSGEN)
    set_option(project, "custom_acsgen_options = --name other")
    assert "net.h: No such file" in platformio(project, tmp_path, "run", code=1, **ACSGEN)


def test_several_models(project: Path, case: Case, cases: Callable[[str, int], Case], tmp_path: Path) -> None:
    other = cases("second", 4)
    shutil.copy(other.model, project / "second.acsq")
    set_option(project, "    second.acsq")
    (project / "src" / "more.c").write_text(
        '#include "second.h"\nconst acs_model_t *more(void);\nconst acs_model_t *more(void) { return &second_model; }\n'
    )
    said = platformio(project, tmp_path, "run", **ACSGEN)
    assert GENERATING in said and GENERATING.replace("net.", "second.") in said
    run(project, case)


def test_what_goes_wrong(project: Path, tmp_path: Path) -> None:
    (project / "net.acsq").rename(project / "gone.acsq")
    said = platformio(project, tmp_path, "run", code=1, **ACSGEN)
    assert f"Error: custom_acsgen_model: {project / 'net.acsq'}: no such file\n" in said and "Traceback" not in said
    (project / "net.acsq").write_bytes(b"PK")
    said = platformio(project, tmp_path, "run", code=1, **ACSGEN)
    assert "net.acsq: no .acsq file, or a damaged one" in said and "Traceback" not in said
    assert "Error: the C of net.acsq could not be generated\n" in said


def test_without_acsgen(project: Path, case: Case, tmp_path: Path) -> None:
    """An acsgen on the PATH will do; where nothing changed, none is needed."""
    script = project / "acsgen_hook.py"
    script.write_text(script.read_text().replace('find_spec("acsgen")', 'find_spec("no_acsgen")'))
    path = os.pathsep.join(
        folder for folder in os.environ["PATH"].split(os.pathsep) if not Path(folder, "acsgen").exists()
    )
    said = platformio(project, tmp_path, "run", code=1, PATH=path)
    assert "Error: custom_acsgen_model needs acsgen, which is not installed for this Python nor on the PATH\n" in said
    (tmp_path / "acsgen").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m acsgen.cli "$@"\n')
    (tmp_path / "acsgen").chmod(0o755)
    assert GENERATING in platformio(project, tmp_path, "run", PATH=f"{tmp_path}:{path}", **ACSGEN)
    assert "SUCCESS" in platformio(project, tmp_path, "run", PATH=path)
    run(project, case)


def test_on_the_offline_platform(case: Case, tmp_path: Path) -> None:
    """A generated project that takes its model from the hook gives firmware that verifies in the emulator."""
    project = generate(case.model, load_board("stm32f405"), tmp_path / "firmware", kernels="portable").path
    shutil.rmtree(project / "lib")
    ini = project / "platformio.ini"
    assert CliRunner().invoke(app, ["hook", "-o", str(project / "acsgen_hook.py")]).exit_code == 0
    section = "[env:stm32f405]\n"
    settings = "extra_scripts = pre:acsgen_hook.py\ncustom_acsgen_model = model.acsq\n"
    ini.write_text(ini.read_text().replace(section, section + settings))
    assert "acsgen: generating the C of model.acsq" in platformio(project, tmp_path, "run", **ACSGEN)
    samples = load_samples(write_samples(tmp_path / "samples.npz"), load_acsq(case.model))
    assert verify(project, samples, tensors=1, transport="semihosting").ok
