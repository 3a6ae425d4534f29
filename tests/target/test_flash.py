# SPDX-License-Identifier: Apache-2.0
"""Every way to flash, with the real programs where they can work without a board; what was written then boots."""

from __future__ import annotations

import os
import pty
import socket
import stat
import subprocess
import sys
import tty
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile
from esp32_mock_bootloader import mock_bootloader

import acsgen.target.flash
from acsgen.errors import AcsgenError
from acsgen.target.boards import Board, Upload, list_boards, load_board
from acsgen.target.build import BuildResult
from acsgen.target.device import Device
from acsgen.target.emulator import Emulator
from acsgen.target.flash import _PROTOCOLS, Probe, find_program, flash, probes_of
from acsgen.target.link import LinkClient
from acsgen.target.stream import SocketStream
from tests.target.fake_project import FINGERPRINT, fake_input, make_project
from tests.target.stm32_rom import FLASH_BASE, Stm32, boot
from tests.target.test_build import platformio

#: A pseudo-terminal has no parity, which the ROM loader of a real chip wants.
NO_PARITY = ("-m", "8n1")
BOARD = load_board("stm32f405")


@pytest.fixture
def project(builds: dict[str, BuildResult]) -> Path:
    return builds[BOARD.name].elf.parents[3]


@pytest.fixture
def image(builds: dict[str, BuildResult]) -> bytes:
    """The firmware as it lies in flash, read from the ELF by another library than binutils."""
    with builds[BOARD.name].elf.open("rb") as stream:
        loaded = [segment for segment in ELFFile(stream).iter_segments("PT_LOAD") if segment["p_filesz"]]
        end = max(segment["p_paddr"] + segment["p_filesz"] for segment in loaded)
        memory = bytearray(end - FLASH_BASE)
        for segment in loaded:
            at = segment["p_paddr"] - FLASH_BASE
            memory[at : at + segment["p_filesz"]] = segment.data()
    return bytes(memory)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that is searched first."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def assert_boots(flash_image: Path) -> None:
    """An image of the flash, nothing else, answers when it is powered up."""
    uart, process = boot(flash_image)
    try:
        with closing(uart):
            assert LinkClient(SocketStream(uart, lambda: "QEMU has ended")).connect().fingerprint == FINGERPRINT
    finally:
        process.kill()
        process.wait()


def test_rom_loader(project: Path, image: bytes, tmp_path: Path) -> None:
    """The real stm32flash; the firmware that it starts answers on the same port, as on a board."""
    with Stm32(tmp_path) as chip:
        result = flash(project, BOARD, port=chip.port, options=NO_PARITY)
        assert (result.probe, result.program, result.bytes) == ("uart", "stm32flash", len(image))
        assert result.info is not None and result.info.fingerprint == FINGERPRINT
        assert chip.flash[: len(image)] == image
        with Device(BOARD, chip.port) as device:
            data = fake_input(1000)
            run = device.run(data)
            np.testing.assert_array_equal(run.output, data[::-1])
            assert (run.instructions, run.ticks > 2000) == (0, True)
            assert device.run(data, steps=True).steps.keys() == {5, 7}


def test_rom_loader_by_platformio(tmp_path: Path, image: bytes) -> None:
    command = next(upload.command for upload in BOARD.uploads if upload.protocol == "serial")
    upload = Upload("serial", (command[0], *NO_PARITY, *command[1:]))
    project = make_project(tmp_path / "project", replace(BOARD, uploads=(upload,)))
    with Stm32(tmp_path) as chip:
        platformio(project, tmp_path, "-t", "upload", "--upload-port", chip.port)
        assert chip.flash[: len(image)] == image
        with Device(BOARD, chip.port) as device:
            assert device.info.fingerprint == FINGERPRINT


def test_flash_that_does_not_take_a_bit(project: Path, tmp_path: Path) -> None:
    even = next(
        i for i, byte in enumerate((project / ".pio/build/stm32f405/firmware.bin").read_bytes()) if not byte & 1
    )
    with (
        Stm32(tmp_path, worn=even) as chip,
        pytest.raises(AcsgenError, match=r"stm32flash did not flash stm32f405: Failed to verify at address 0x0800"),
    ):
        flash(project, BOARD, port=chip.port, options=NO_PARITY)
    assert not chip.booted.is_set()


def test_nothing_answers(project: Path) -> None:
    """A port on which nobody listens: what to connect."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    with pytest.raises(AcsgenError, match=r"Failed to init device, timeout\.; start the chip's ROM loader \(BOOT0"):
        flash(project, BOARD, port=os.ttyname(slave), options=NO_PARITY)
    os.close(slave)
    os.close(master)


def test_port_that_cannot_be_opened(project: Path) -> None:
    """One that is not there; the real stm32flash with a name that is none: its third line says why."""
    with pytest.raises(AcsgenError, match=r"^there is no port /dev/none; there (are: /dev|is no serial)"):
        flash(project, BOARD, port="/dev/none")
    with pytest.raises(AcsgenError, match=r"stm32flash did not flash stm32f405: Failed to open port: none; start"):
        flash(project, BOARD, port="none")


@contextmanager
def waiting_for_gdb(folder: Path) -> Iterator[tuple[str, socket.socket]]:
    """An STM32F405 in QEMU without any firmware, stopped; yields the address of its GDB server, and its UART."""
    ours, theirs = socket.socketpair()
    server = folder / "gdb"
    command = f"qemu-system-arm -M netduinoplus2 -display none -monitor none -S -gdb unix:{server},server=on,wait=off"
    with theirs, closing(ours):
        serial = ["-chardev", f"socket,id=uart,fd={theirs.fileno()}", "-serial", "chardev:uart"]
        with subprocess.Popen([*command.split(), *serial], pass_fds=(theirs.fileno(),)) as process:
            try:
                yield str(server), ours
            finally:
                process.kill()


def test_gdb(project: Path, tmp_path: Path) -> None:
    """GDB loads into QEMU's server, as it would through a debug probe, compares, and lets the firmware run."""
    with waiting_for_gdb(tmp_path) as (server, uart):
        assert flash(project, BOARD, port=server, probe="gdb", log=tmp_path / "log").program == "gdb-multiarch"
        assert "Section" in (said := (tmp_path / "log").read_text("utf-8")) and "rror" not in said
        assert LinkClient(SocketStream(uart, lambda: "QEMU has ended")).connect().fingerprint == FINGERPRINT


@pytest.mark.parametrize(
    "said", ["Section .text, range 0x8000000 -- 0x8001000: MIS-MATCHED!", "localhost:3333: Connection timed out."]
)
def test_gdb_ends_with_0_whatever_happens(project: Path, tools: Path, said: str) -> None:
    script(tools / "gdb-multiarch", f"echo '{said}'")
    with pytest.raises(AcsgenError, match=f"gdb-multiarch did not flash stm32f405: {said.replace('.', '[.]')}; start"):
        flash(project, BOARD, port="localhost:3333", probe="gdb")


#: The last: let it run, and turn halting debug off (DHCSR), or a semihosting call halts the core. Ends OpenOCD.
OPENOCD_LETS_RUN = "reset run; mww 0xe000edf0 0xa05f0000; shutdown"
OPENOCD_PROGRAM = ["-c", "program {{{image}}} 0x08000000 verify", "-c", OPENOCD_LETS_RUN]
FAKED: dict[str, tuple[Probe, list[str]]] = {
    "st-flash": ("stlink", ["--reset", "write", "{image}", "0x08000000"]),
    "openocd-stlink": ("stlink", ["-f", "interface/stlink.cfg", "-f", "target/stm32f4x.cfg", *OPENOCD_PROGRAM]),
    "openocd-jlink": (
        "jlink",
        ["-f", "interface/jlink.cfg", "-c", "transport select swd", "-f", "target/stm32f4x.cfg", *OPENOCD_PROGRAM],
    ),
}


@pytest.mark.parametrize("case", FAKED)
def test_probes_that_need_hardware(
    project: Path, tmp_path: Path, tools: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """The whole command line, and that the file which it names boots."""
    probe, arguments = FAKED[case]
    name = case.removesuffix("-stlink").removesuffix("-jlink")
    script(tools / name, f'printf "%s\\n" "$@" > "{tmp_path}/said"')
    # st-flash comes first where both are installed.
    monkeypatch.setattr(
        acsgen.target.flash, "find_program", lambda wanted: find_program(wanted) if wanted == name else None
    )
    result = flash(project, BOARD, probe=probe, options=["--serial", "12 34"])
    assert result.program == name
    wanted = ["--serial", "12 34", *(word.format(image=result.image) for word in arguments)]
    assert (tmp_path / "said").read_text("utf-8").splitlines() == wanted
    assert_boots(result.image)


def test_a_probe_that_is_not_connected(project: Path, tools: Path) -> None:
    said = "2026-11-24T18:28:07 WARN usb.c: Couldn't find any ST-Link devices"
    script(tools / "st-flash", f'echo st-flash 1.7.0; echo "{said}"; exit 255')
    with pytest.raises(
        AcsgenError, match="stm32f405: Couldn't find any ST-Link devices; connect the probe's SWDIO, SWCLK and GND"
    ):
        flash(project, BOARD)


# The model of the loader leaves a pipe of its own open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_esp_rom_loader(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real esptool against a model of the ROM loader; nothing emulates the chip that would boot."""
    monkeypatch.setattr(acsgen.target.flash, "_BOOT_SECONDS", 0.1)
    command = ("esptool", "--port", "$UPLOAD_PORT", "write-flash", "0x10000", "$SOURCE")
    board = replace(BOARD, name="c3", core="rv32imc", uploads=(Upload("esptool", command),))

    def verified(image: Path, port: str) -> int:
        esptool = [sys.executable, "-m", "esptool", "--port", port, "verify-flash", "0x10000", str(image)]
        return subprocess.run(esptool, check=False, capture_output=True).returncode

    with mock_bootloader(chip="esp32c3") as mock:
        result = flash(project, board, port=mock.url(), log=tmp_path / "log")
        assert (result.probe, result.program, result.info) == ("uart", "esptool", None)
        assert "Hash of data verified." in (tmp_path / "log").read_text("utf-8")
        assert verified(result.image, mock.url()) == 0
        other = tmp_path / "other.bin"
        other.write_bytes(bytes([result.image.read_bytes()[0] ^ 1]) + result.image.read_bytes()[1:])
        assert verified(other, mock.url()) != 0


def test_the_emulator_runs_the_bytes_that_are_flashed(
    project: Path, image: bytes, builds: dict[str, BuildResult], tmp_path: Path
) -> None:
    """The file for flashing, the ELF's segments, and the flash of the emulated chip that runs the ELF: the same."""
    elf = builds[BOARD.name].elf
    assert elf.with_suffix(".bin").read_bytes() == image
    dump, server = tmp_path / "dump", tmp_path / "gdb"
    args = (*BOARD.emulator.args, "-gdb", f"unix:{server},server=on,wait=off")  # type: ignore[union-attr]
    waiting = replace(BOARD, emulator=replace(BOARD.emulator, args=args))  # type: ignore[type-var]
    with Emulator(waiting, elf, transport="uart"):  # a semihosting call stops the GDB server too
        end = FLASH_BASE + len(image)
        orders = [f"target remote {server}", f"dump binary memory {dump} {FLASH_BASE:#x} {end:#x}", "detach"]
        words = [word for order in orders for word in ("-ex", order)]
        subprocess.run(["gdb-multiarch", "-batch", "-nx", *words, elf], check=True, capture_output=True)
    assert dump.read_bytes() == image


def test_platformios_own_program_comes_first(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tools / "openocd", "")
    monkeypatch.setenv("PLATFORMIO_CORE_DIR", str(tmp_path / "core"))
    assert find_program("openocd") == [str(tools / "openocd")]
    package = tmp_path / "core" / "packages" / "tool-openocd" / "bin" / "openocd"
    script(package, "")
    assert find_program("openocd") == [str(package)]


def test_esptool_comes_from_this_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program("esptool") == [str(Path(sys.executable).parent / "esptool")]


STM32: tuple[Probe, ...] = ("stlink", "jlink", "uart", "gdb")
#: By what each board that exists can be flashed; an U575's ROM loader is none that stm32flash knows.
PROBES_OF: dict[str, tuple[Probe, ...]] = {
    **dict.fromkeys(("stm32f405", "bluepill-f103c8", "nucleo-f072rb", "nucleo-f411re", "nucleo-f446re"), STM32),
    **dict.fromkeys(("nucleo-l476rg", "nucleo-l4r5zi", "nucleo-f746zg", "nucleo-f767zi", "nucleo-h743zi"), STM32),
    "nucleo-u575zi-q": ("stlink", "jlink", "gdb"),
    "microbit": ("jlink", "cmsis-dap", "gdb"),
    "pico": ("cmsis-dap", "gdb"),
    **dict.fromkeys(("esp32", "esp32-s3", "esp32-c3", "esp32-c6"), ("uart",)),
}


def test_ways_of_every_board() -> None:
    """Those that exist in an emulator only have none."""
    boards = [load_board(name) for name in list_boards()]
    assert {board.name: probes_of(board) for board in boards if probes_of(board)} == PROBES_OF
    assert {board.name for board in boards if board.is_bare and not board.uploads} == {
        board.name for board in boards if not probes_of(board)
    }


WAYS = [(board, upload) for board in map(load_board, PROBES_OF) for upload in board.uploads]


@pytest.mark.parametrize(("board", "upload"), WAYS, ids=[f"{board.name}-{upload.protocol}" for board, upload in WAYS])
def test_every_way_of_every_board(
    project: Path, tmp_path: Path, tools: Path, monkeypatch: pytest.MonkeyPatch, board: Board, upload: Upload
) -> None:
    """Its probe finds it where only its program is installed; the image goes to the start of the board's flash."""
    probe = next(each for each, protocols in _PROTOCOLS.items() if upload.protocol in protocols)
    program, said = upload.command[0], tmp_path / "said"
    script(tools / program, f'printf "%s\\n" "$@" > "{said}"')
    monkeypatch.setattr(
        acsgen.target.flash, "find_program", lambda wanted: find_program(wanted) if wanted == program else None
    )
    result = flash(project, board, probe=probe, port=os.devnull if probe == "uart" else None)
    assert (result.program, result.probe) == (program, probe)
    start = f"{board.flash.base:#010x}"
    lasts = {
        "openocd": ["-c", f"program {{{result.image}}} {start} verify", "-c", OPENOCD_LETS_RUN],
        "st-flash": ["--reset", "write", str(result.image), start],  # which always verifies
        "stm32flash": ["-w", str(result.image), "-v", "-g", start, os.devnull],
    }[program]
    assert said.read_text("utf-8").splitlines()[-len(lasts) :] == lasts


def test_openocd_has_the_scripts() -> None:
    """The real one reads them and ends; nothing is connected or written."""
    commands = {
        upload.command
        for name in list_boards()
        for upload in load_board(name).uploads
        if upload.command[0] == "openocd"
    }
    assert len(commands) >= 16
    for *configuration, _, order, _, end in commands:
        assert order.startswith("program ") and end == OPENOCD_LETS_RUN
        done = subprocess.run([*configuration, "-c", "shutdown"], check=False, capture_output=True, text=True)
        assert done.returncode == 0, (configuration, done.stderr)


def test_without_a_probe_it_is_the_boards_first_way(project: Path, tools: Path) -> None:
    script(tools / "openocd", "true")
    for name in ("pico", "microbit", "nucleo-u575zi-q"):
        result = flash(project, load_board(name))
        assert (result.probe, result.program) == ("stlink" if name.startswith("nucleo") else "cmsis-dap", "openocd")


def test_platformio_flashes_what_needs_a_framework(
    tmp_path: Path, tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole command line; PlatformIO's reason where it fails, and what is refused before it is started."""
    monkeypatch.setattr(acsgen.target.flash, "_BOOT_SECONDS", 0.1)
    board = load_board("esp32-c3")
    project = make_project(tmp_path / "my project", board)
    image = project / ".pio" / "build" / "esp32-c3-espidf" / "firmware.bin"
    image.parent.mkdir(parents=True)
    said = tmp_path / "said"
    script(tools / "pio", f'printf "%s\n" "$@" > "{said}"; printf abc > "{image}"')
    result = flash(project, board, log=project / ".pio" / "flash.log")
    assert (result.image, result.bytes, result.probe, result.program, result.info) == (image, 3, "uart", "pio", None)
    run = ["run", "-d", str(project), "-e", "esp32-c3-espidf", "-t", "upload"]
    assert said.read_text("utf-8").splitlines() == run
    flash(project, board, port="/dev/none", options=["-v"])
    assert said.read_text("utf-8").splitlines() == [*run, "--upload-port", "/dev/none", "-v"]

    script(tools / "pio", 'echo "Linking"; echo "A fatal error occurred: Failed to connect to ESP32-C3"; exit 1')
    with pytest.raises(AcsgenError, match="pio did not flash esp32-c3: A fatal error occurred: Failed to connect to"):
        flash(project, board)
    with pytest.raises(AcsgenError, match="esp32-c3 is not flashed over stlink; PlatformIO flashes it over: uart"):
        flash(project, board, probe="stlink")
    script(tools / "pio", "true")
    image.unlink()
    with pytest.raises(AcsgenError, match=r"pio flashed esp32-c3, but there is no .*firmware\.bin"):
        flash(project, board)
    (project / "platformio.ini").write_text("[platformio]\n", encoding="utf-8")
    with pytest.raises(AcsgenError, match=r"platformio\.ini is damaged .*; generate it anew"):
        flash(project, board)


EMULATED = load_board("mps2-an386")
NO_TOOL = replace(BOARD, uploads=(Upload("stlink", ("no-such-flasher", "$SOURCE")),))
ESP = replace(BOARD, core="rv32imc", uploads=(Upload("esptool", ("esptool", "$UPLOAD_PORT")),))


@pytest.mark.parametrize(
    ("board", "options", "message"),
    [
        (EMULATED, {}, "board mps2-an386 has no way to be flashed: it exists in an emulator only"),
        (NO_TOOL, {}, "flashing over stlink needs no-such-flasher; install it: .*apt-get install .*stm32flash"),
        (NO_TOOL, {"probe": "jlink"}, "stm32f405 is not flashed over jlink; it is over: stlink, gdb"),
        (BOARD, {"probe": "uart"}, r"over uart needs --port; start the chip's ROM loader \(BOOT0 high"),
        (BOARD, {"probe": "jlink", "port": "/dev/none"}, "flashing stm32f405 over jlink takes no --port: leave it out"),
        (load_board("pico"), {"port": "/dev/none"}, "flashing pico over cmsis-dap takes no --port: leave it out"),
        (BOARD, {"probe": "gdb"}, "over gdb needs --port; start the probe's GDB server"),
    ],
)
def test_refusals(project: Path, board: Board, options: dict[str, Any], message: str) -> None:
    with pytest.raises(AcsgenError, match=message):
        flash(project, board, **options)


def test_esptool_that_is_missing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acsgen.target.flash, "find_program", lambda name: None)
    with pytest.raises(AcsgenError, match=r"over uart needs esptool; install it: pip install 'acsgen\[esp\]'"):
        flash(project, ESP)


def test_project_that_is_not_built(tmp_path: Path) -> None:
    with pytest.raises(AcsgenError, match="is not built: acsgen build"):
        flash(make_project(tmp_path / "project", BOARD), BOARD)
