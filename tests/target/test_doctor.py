# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from acsgen.target import doctor


def test_everything_is_there() -> None:
    checks = doctor.checks()
    assert [check for check in checks if not check.ok] == []
    names = [check.name for check in checks]
    assert len(names) == len(set(names))
    for name in ("python", "platformio", "scons", "arm-none-eabi-gcc", "arm-none-eabi-libc"):
        assert name in names
    assert {"qemu-system-arm", "qemu-system-riscv32", "qemu-system-xtensa"} <= set(names)


def test_missing_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    missing = {check.name: check for check in doctor.checks() if not check.ok}
    assert set(missing) == {"arm-none-eabi-gcc", "arm-none-eabi-libc", "qemu-system-arm"}
    assert {check.found for check in missing.values()} == {doctor.MISSING}


@pytest.mark.parametrize(("user", "prefix"), [(0, ""), (1000, "sudo ")])
def test_one_line_installs_all_debian_packages(
    user: int, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: user)
    packages = "gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm"
    assert {check.fix for check in doctor.checks() if not check.ok} == {
        f"{prefix}apt-get install -y --no-install-recommends {packages}"
    }


def test_programs_that_flash_are_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (check,) = (check for check in doctor.checks() if check.name == "flashing")
    assert (check.ok, check.needed) == (True, "optional")
    line = "apt-get install -y --no-install-recommends openocd stlink-tools stm32flash"
    assert check.found == f"openocd, st-flash, stm32flash missing: {line}"
    for program in ("openocd", "st-flash", "stm32flash"):
        (tmp_path / program).touch(0o755)
    (check,) = (check for check in doctor.checks() if check.name == "flashing")
    assert check.found == "openocd, st-flash, stm32flash"


def test_the_hosts_compiler_is_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `profile` compiles for the host, with gcc or whatever is called cc."""
    (check,) = (check for check in doctor.checks() if check.name == "gcc")
    assert (check.ok, check.needed) == (True, "optional, for profile") and check.found.startswith("gcc ")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (check,) = (check for check in doctor.checks() if check.name == "gcc")
    assert check.ok and check.found == "missing: apt-get install -y --no-install-recommends gcc libc6-dev"
    (tmp_path / "cc").write_text("#!/bin/sh\necho clang 14\n", encoding="utf-8")
    (tmp_path / "cc").chmod(0o755)
    (check,) = (check for check in doctor.checks() if check.name == "cc")
    assert check.found == "clang 14"


def test_what_only_emulated_boards_need_is_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    by_name = {check.name: check for check in doctor.checks()}
    for name, board in (
        ("riscv64-unknown-elf-gcc", "riscv32-virt"),
        ("riscv64-unknown-elf-libc", "riscv32-virt"),
        ("qemu-system-riscv32", "riscv32-virt"),
        ("xtensa-lx106-elf-gcc", "xtensa-sim"),
        ("xtensa-lx106-elf-libc", "xtensa-sim"),
        ("qemu-system-xtensa", "xtensa-sim"),
    ):
        assert (by_name[name].ok, by_name[name].needed) == (True, f"optional, for {board}")
        assert by_name[name].found.startswith("missing: ") and "apt-get install" in by_name[name].found


def test_c_libraries_are_found() -> None:
    """By the flags that the board gives the compiler."""
    found = {check.name: check.found for check in doctor.checks() if check.name.endswith("-libc")}
    assert {name: Path(path).name for name, path in found.items()} == dict.fromkeys(found, "libc.a")
    assert set(found) == {"arm-none-eabi-libc", "riscv64-unknown-elf-libc", "xtensa-lx106-elf-libc"}


def test_compiler_without_a_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "arm-none-eabi-gcc"
    compiler.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "gcc 12"\n', encoding="utf-8")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    missing = {check.name for check in doctor.checks() if not check.ok}
    assert missing >= {"arm-none-eabi-libc"}
    assert "arm-none-eabi-gcc" not in missing


def test_requirements_are_those_of_the_package() -> None:
    names = {requirement.name for requirement in doctor.requirements()}
    assert {"numpy", "jinja2", "pyelftools", "bakenn", "platformio", "scons"} <= names
    assert "pytest" not in names


def test_wrong_and_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [Requirement("no-such-package>=1"), Requirement("scons==0.1"), Requirement("pyserial")]
    monkeypatch.setattr(doctor, "requirements", lambda: asked)
    by_name = {check.name: check for check in doctor.checks()}
    assert not by_name["no-such-package"].ok
    assert by_name["no-such-package"].fix == "pip install 'no-such-package>=1'"
    assert not by_name["scons"].ok
    assert by_name["scons"].fix == "pip install 'scons==0.1'"
    assert by_name["pyserial"].ok
