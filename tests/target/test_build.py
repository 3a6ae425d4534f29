# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from acsgen.errors import AcsgenError
from acsgen.target.boards import Board, Memory, load_board
from acsgen.target.build import LOG_NAME, BuildResult, build, memory_use
from tests.target.fake_project import make_project


def test_build_gives_an_elf_and_its_sizes(board: Board, firmware: BuildResult) -> None:
    assert " " in str(firmware.elf)
    sizes = subprocess.run(
        [f"{board.toolchain.prefix}size", firmware.elf], check=True, capture_output=True, text=True
    ).stdout.splitlines()[1]
    text, data, bss = map(int, sizes.split()[:3])
    assert firmware.flash_bytes == text + data
    assert firmware.ram_bytes == data + bss
    assert board.stack_bytes < firmware.ram_bytes < board.stack_bytes + 1024


def test_build_is_free_of_warnings(firmware: BuildResult) -> None:
    log = (firmware.elf.parents[2] / LOG_NAME).read_text(encoding="utf-8")
    assert "SUCCESS" in log
    assert "warning" not in log


def test_build_leaves_map_and_image(board: Board, firmware: BuildResult) -> None:
    assert "port_vectors" in firmware.elf.with_name("firmware.map").read_text(encoding="utf-8")
    image = firmware.elf.with_name("firmware.bin").read_bytes()
    assert len(image) == firmware.flash_bytes
    assert int.from_bytes(image[:4], "little") == board.ram.base + board.stack_bytes
    reset = int.from_bytes(image[4:8], "little")
    assert reset & 1
    assert board.flash.base < reset < board.flash.base + len(image)


def test_build_uses_nothing_outside_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PLATFORMIO_BUILD_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.chdir(tmp_path)
    project = make_project(tmp_path / "project", load_board("stm32f405"))
    result = build(Path("project"))
    assert result.elf.is_relative_to(project)
    assert list(home.iterdir()) == []
    moved = project.rename(tmp_path / "moved")
    assert build(moved).elf.is_relative_to(moved)


def platformio(project: Path, home: Path, *arguments: str, path: str = "") -> str:
    """Runs PlatformIO as a user would who has no acsgen, and no network either."""
    dead = "http://127.0.0.1:9"
    environment = {
        "HOME": str(home),
        "PATH": path + os.environ["PATH"],
        "HTTP_PROXY": dead,
        "HTTPS_PROXY": dead,
        "PLATFORMIO_DISABLE_UPGRADE_CHECK": "true",
        "PLATFORMIO_SETTING_ENABLE_TELEMETRY": "no",
    }
    command = [sys.executable, "-m", "platformio", "run", *arguments]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_plain_platformio_builds_the_same_firmware(tmp_path: Path, builds: dict[str, BuildResult]) -> None:
    board = load_board("stm32f405")
    project = make_project(tmp_path / "project", board)
    assert "SUCCESS" in platformio(project, tmp_path)
    image = project / ".pio" / "build" / board.name / "firmware.bin"
    assert image.read_bytes() == builds[board.name].elf.with_name("firmware.bin").read_bytes()


def test_upload_runs_the_command_of_the_board(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("st-flash", "stm32flash"):
        (tools / tool).write_text('#!/bin/sh\necho "$(basename $0)|" "$@" "|"\n', encoding="utf-8")
        (tools / tool).chmod(0o755)
    project = make_project(tmp_path / "project", load_board("stm32f405"))
    image = ".pio/build/stm32f405/firmware.bin"
    said = platformio(project, tmp_path, "-t", "upload", path=f"{tools}:")
    assert f"st-flash| --reset write {image} 0x08000000 |" in said
    ini = project / "platformio.ini"
    text = ini.read_text(encoding="utf-8")
    ini.write_text(text.replace("upload_protocol = stlink", "upload_protocol = serial"), "utf-8")
    said = platformio(project, tmp_path, "-t", "upload", "--upload-port", "/dev/ttyX", path=f"{tools}:")
    assert f"stm32flash| -w {image} -v -g 0x08000000 /dev/ttyX |" in said


def test_verbose_shows_the_output(capsys: pytest.CaptureFixture[str], builds: dict[str, BuildResult]) -> None:
    project = builds["stm32f405"].elf.parents[3]
    build(project)
    assert capsys.readouterr().out == ""
    build(project, verbose=True)
    assert "SUCCESS" in capsys.readouterr().out


def test_missing_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = make_project(tmp_path / "project", load_board("stm32f405"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        AcsgenError,
        match=r"building needs arm-none-eabi-gcc; install it: "
        r"apt-get install .*gcc-arm-none-eabi libnewlib-arm-none-eabi$",
    ):
        build(project)


def test_too_little_flash(tmp_path: Path) -> None:
    board = load_board("stm32f405")
    small = replace(board, flash=Memory(board.flash.base, 2048))
    with pytest.raises(
        AcsgenError,
        match=r"needs \d,\d\d\d bytes of flash, stm32f405 has 2,048 \(\d,\d\d\d too few\)",
    ):
        build(make_project(tmp_path / "project", small))


def test_too_little_ram(tmp_path: Path) -> None:
    board = load_board("mps2-an386")
    small = replace(board, ram=Memory(board.ram.base, board.stack_bytes + 64))
    with pytest.raises(AcsgenError, match=r"needs 4,3\d\d bytes of RAM, mps2-an386 has 4,160 \(\d+ too few\)"):
        build(make_project(tmp_path / "project", small))


def test_exactly_enough_memory(tmp_path: Path, builds: dict[str, BuildResult]) -> None:
    board = load_board("stm32f405")
    flash_bytes, ram_bytes = memory_use(builds["stm32f405"].elf)
    tight = replace(board, flash=Memory(board.flash.base, flash_bytes), ram=Memory(board.ram.base, ram_bytes))
    result = build(make_project(tmp_path / "project", tight))
    assert (result.flash_bytes, result.ram_bytes) == (flash_bytes, ram_bytes)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("int broken(", "fake.c:.*error: "),
        ("void missing(void); void *volatile p = missing;", "nothing defines missing"),
        (
            "#include <stdlib.h>\nvoid *(*volatile p)(size_t) = malloc;",
            "calls malloc, and the firmware has no heap",
        ),
        ('#include "nowhere.h"', "fake.c:.*nowhere.h: No such file"),
    ],
)
def test_code_that_does_not_build(tmp_path: Path, line: str, message: str) -> None:
    project = make_project(tmp_path / "project", load_board("stm32f405"))
    source = project / "lib" / "model" / "fake.c"
    use = "" if "*volatile p" not in line else "if (p == NULL) { return false; }"
    text = source.read_text(encoding="utf-8").replace(
        "go_wrong(trouble, (uint8_t)input[0]);", f"{use} go_wrong(trouble, (uint8_t)input[0]);"
    )
    source.write_text(text.replace("#include <string.h>", f"#include <string.h>\n{line}"), "utf-8")
    with pytest.raises(AcsgenError, match=message) as raised:
        build(project)
    assert "\n" not in str(raised.value)
    assert str(project / ".pio" / LOG_NAME) in str(raised.value)


def test_folder_that_is_no_project(tmp_path: Path) -> None:
    with pytest.raises(AcsgenError, match=r"is not a project that acsgen generated.*platformio\.ini"):
        build(tmp_path)


def test_damaged_project(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", load_board("stm32f405"))
    (project / "boards" / "stm32f405.json").write_text("{", encoding="utf-8")
    with pytest.raises(AcsgenError, match=r"damaged .*; generate it anew"):
        build(project)


def test_memory_use_of_what_is_no_elf(tmp_path: Path) -> None:
    path = tmp_path / "firmware.elf"
    path.write_bytes(b"no")
    with pytest.raises(AcsgenError, match=r"cannot read firmware .*firmware\.elf"):
        memory_use(path)
