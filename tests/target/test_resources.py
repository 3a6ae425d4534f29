# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import acsgen
from acsgen.errors import AcsgenError
from acsgen.resources import ResourceKind, resource_dir


def test_checkout() -> None:
    assert (resource_dir("firmware") / "app" / "main.c").is_file()
    assert (resource_dir("boards") / "stm32f405.toml").is_file()
    assert (resource_dir("templates") / "platformio.ini.j2").is_file()


def test_installed_package(tmp_path: Path) -> None:
    package = tmp_path / "acsgen"
    package.mkdir()
    for name in ("__init__.py", "errors.py", "resources.py"):
        shutil.copy(Path(acsgen.__file__).parent / name, package / name)
    (package / "_data" / "boards").mkdir(parents=True)
    code = "from acsgen.resources import resource_dir; print(resource_dir('boards'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == str(package / "_data" / "boards")


def test_missing_folder() -> None:
    kind: ResourceKind = "nonsense"  # type: ignore[assignment]
    with pytest.raises(AcsgenError, match=r"folder 'nonsense' is missing .*; reinstall acsgen"):
        resource_dir(kind)
