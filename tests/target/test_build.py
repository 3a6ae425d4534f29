# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

import acsgen.emit.project
from acsgen.emit.render import environment
from acsgen.errors import AcsgenError
from acsgen.resources import resource_dir
from acsgen.target.boards import Board, Memory, Upload, list_boards, load_board
from acsgen.target.build import LOG_NAME, BuildResult, build, firmware_of, memory_use
from tests.target.fake_project import make_project

NO_UPLOAD = Upload("other", ("no-such-flasher", "$SOURCE"))


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
    """The image begins with a Cortex-M's vectors, elsewhere with code."""
    assert "port_reset" in firmware.elf.with_name("firmware.map").read_text(encoding="utf-8")
    image = firmware.elf.with_name("firmware.bin").read_bytes()
    assert len(image) == firmware.flash_bytes
    if not board.core.startswith("cortex-m"):
        return
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


def platformio(project: Path, home: Path, *arguments: str, path: str = "", code: int = 0) -> str:
    """Runs PlatformIO as a user would who has no acsgen, and no network either; returns all that it said."""
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
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_plain_platformio_builds_the_same_firmware(tmp_path: Path, builds: dict[str, BuildResult]) -> None:
    board = load_board("stm32f405")
    project = make_project(tmp_path / "project", board)
    assert "SUCCESS" in platformio(project, tmp_path)
    image = project / ".pio" / "build" / board.name / "firmware.bin"
    assert image.read_bytes() == builds[board.name].elf.with_name("firmware.bin").read_bytes()


def test_plain_platformio_leaves_the_users_own_alone(tmp_path: Path) -> None:
    """A package that is registered there would be used by other projects, also in environments without SCons."""
    home = tmp_path / "home"
    home.mkdir()
    platformio(make_project(tmp_path / "a project", load_board("stm32f405")), home)
    core = home / ".platformio"
    assert not (core / "packages").exists() and not (core / "platforms").exists()
    assert [path for path in core.rglob("*") if "scons" in path.name] == []


def test_platformio_without_scons(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", load_board("stm32f405"))
    platform = project / "pio" / "bare" / "platform.py"
    platform.write_text(platform.read_text("utf-8").replace('find_spec("SCons")', 'find_spec("NoSCons")'), "utf-8")
    said = platformio(project, tmp_path, code=1)
    assert f"SCons is not installed: pip install scons=={version('scons')}\n" in said
    assert "Traceback" not in said


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


def test_upload_without_the_program(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", replace(load_board("stm32f405"), uploads=(NO_UPLOAD,)))
    said = platformio(project, tmp_path, "-t", "upload", code=1)
    assert (
        "Error: no-such-flasher not found; install it: "
        "apt-get install -y --no-install-recommends stlink-tools stm32flash openocd\n"
    ) in said
    assert "SUCCESS" in platformio(project, tmp_path)


def test_verbose_shows_the_output(capsys: pytest.CaptureFixture[str], builds: dict[str, BuildResult]) -> None:
    project = builds["stm32f405"].elf.parents[3]
    build(project)
    assert capsys.readouterr().out == ""
    build(project, verbose=True)
    assert "SUCCESS" in capsys.readouterr().out


def test_missing_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = make_project(tmp_path / "project", load_board("stm32f405"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(
        AcsgenError,
        match=r"building needs arm-none-eabi-gcc; install it: "
        r"sudo apt-get install .*gcc-arm-none-eabi libnewlib-arm-none-eabi$",
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


def test_the_linker_is_quoted(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", load_board("stm32f405"))
    (project / "src" / "twice.c").write_text("int main(void) { return 0; }\n", encoding="utf-8")
    with pytest.raises(AcsgenError, match=r"failed: .*multiple definition of `main'"):
        build(project)


def test_signs_in_the_path(tmp_path: Path) -> None:
    project = make_project(tmp_path / """a,b'c%d;e "f" #=&(x)""", load_board("stm32f405"))
    assert build(project).elf.is_relative_to(project)
    assert (project / ".pio" / "build" / "stm32f405" / "firmware.map").is_file()


@pytest.mark.parametrize("sign", ["$", "\n"])
def test_signs_in_the_path_that_platformio_cannot_take(tmp_path: Path, sign: str) -> None:
    project = make_project(tmp_path / f"a{sign}b", load_board("stm32f405"))
    with pytest.raises(AcsgenError) as raised:
        build(project)
    assert str(raised.value).startswith(f"PlatformIO cannot build in a folder with {sign!r} in its path: rename ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("plain", [False, True])
def test_firmware_of_changed_sources(plain: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    project = make_project(tmp_path / "project", load_board("stm32f405"))
    elf = project / ".pio" / "build" / "stm32f405" / "firmware.elf"
    assert firmware_of(Path("project")) == elf
    if plain:
        platformio(project, tmp_path)
    else:
        assert build(project).elf == elf
    for made in ("compile_commands.json", ".vscode/settings.json", "pio/bare/__pycache__/platform.pyc"):
        (project / made).parent.mkdir(exist_ok=True)
        (project / made).touch()
    assert firmware_of(project) == elf
    source = project / "lib" / "acs" / "acs_lists.c"
    old = source.read_text(encoding="utf-8")
    source.write_text(old + "\n", encoding="utf-8")
    message = r"^project/lib/acs/acs_lists\.c changed since the build: acsgen build project$"
    with pytest.raises(AcsgenError, match=message):
        firmware_of(Path("project"))
    if not plain:
        source.write_text(old, encoding="utf-8")
        assert firmware_of(project) == elf
        source.unlink()
        with pytest.raises(AcsgenError, match=message):
            firmware_of(Path("project"))
        source.write_text(old + "\n", encoding="utf-8")
    build(project)
    assert firmware_of(project) == elf


def test_a_record_is_of_one_firmware(tmp_path: Path) -> None:
    """The sources are those of the record again, but the firmware was built in between from others."""
    project = make_project(tmp_path / "project", load_board("stm32f405"))
    elf = build(project).elf
    elf.write_bytes(elf.read_bytes() + b"other")
    assert firmware_of(project) == elf
    (project / "src" / "main.c").touch()
    with pytest.raises(AcsgenError, match=r"main\.c changed since the build"):
        firmware_of(project)


def test_folder_that_is_no_project(tmp_path: Path) -> None:
    """The same words as those of every other command."""
    with pytest.raises(AcsgenError) as elsewhere:
        acsgen.emit.project.read_manifest(tmp_path)
    for stage in (build, firmware_of):
        with pytest.raises(AcsgenError) as raised:
            stage(tmp_path)
        assert str(raised.value) == str(elsewhere.value)


@pytest.mark.parametrize("name", [name for name in list_boards() if load_board(name).is_bare])
def test_ports_are_c11(name: str, tmp_path: Path) -> None:
    """Without a warning, on every board; assembly that is left to the compiler is checked by building."""
    board, firmware = load_board(name), resource_dir("firmware")
    folders = [firmware / "ports" / port for port in board.ports]
    sources = [source for folder in folders for source in sorted(folder.glob("*.c"))]
    if board.setup is not None:
        setup = environment().get_template("port_setup.h.j2").render(board=board)
        (tmp_path / "port_setup.h").write_text(setup, encoding="utf-8")
    headers = [f"-I{folder}" for folder in (tmp_path, firmware / "app", *folders)]
    warnings = ["-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Wpedantic", "-Werror"]
    flags = [*board.cpu_flags, *board.toolchain.flags, *(f"-D{define}" for define in board.defines)]
    command = [board.toolchain.compiler, "-std=c11", "-O1", "-fsyntax-only", *warnings, *flags, *headers]
    subprocess.run([*command, *sources], check=True)


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
