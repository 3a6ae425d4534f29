# SPDX-License-Identifier: Apache-2.0
"""Writes a built project's firmware to the board, with the program that fits the probe, and lets it verify.

Which commands a board has stands in its TOML (``upload.commands``); here stands which of them belong to a
probe, where their programs are found, and what to connect when nothing answers. A board that needs a framework is
flashed by PlatformIO, which builds its firmware first.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from acsgen.errors import AcsgenError
from acsgen.target.boards import Board, Upload, as_root
from acsgen.target.build import firmware_of
from acsgen.target.device import Device
from acsgen.target.link import ModelInfo
from acsgen.target.stream import ports_text

Probe = Literal["stlink", "jlink", "cmsis-dap", "uart", "gdb"]
"""How a board is reached: a debug probe, the loader in its ROM, or a server that speaks GDB's protocol."""
PROBES: tuple[Probe, ...] = get_args(Probe)

#: The protocols (keys of upload.commands) of each probe.
_PROTOCOLS: dict[Probe, tuple[str, ...]] = {
    "stlink": ("stlink", "stlink-openocd"),
    "jlink": ("jlink",),
    "cmsis-dap": ("cmsis-dap",),
    "uart": ("serial", "esptool"),
    "gdb": ("gdb",),
}

#: Seconds that a program may take: a megabyte at 57,600 baud needs four minutes, written and read back.
_LONGEST = 900.0
#: The same for PlatformIO, which may have to fetch a framework and build it.
_LONGEST_WITH_BUILD = 3600.0
_BOOT_SECONDS = 3.0


@dataclass(frozen=True)
class _Tool:
    """A program that flashes.

    package: PlatformIO's package that holds it, and the folder in it. connect: what to look at when it fails.
    install: where it comes from if a board's Debian packages are not it.
    """

    package: str
    connect: str
    install: str | None = None


_SWD = "connect the probe's SWDIO, SWCLK and GND to the chip and power the board"
_TOOLS = {
    "st-flash": _Tool("tool-stlink/bin", _SWD),
    "openocd": _Tool("tool-openocd/bin", _SWD),
    "stm32flash": _Tool(
        "tool-stm32duino/stm32flash",
        "start the chip's ROM loader (BOOT0 high, then reset) and connect a 3.3 V serial adapter: "
        "its TX to PA10, its RX to PA9, GND to GND",
    ),
    "esptool": _Tool(
        "tool-esptoolpy",
        "connect the board by USB and hold BOOT while you press reset",
        "pip install 'acsgen[esp]'",
    ),
    "gdb-multiarch": _Tool(
        "toolchain-gccarmnoneeabi/bin",
        "start the probe's GDB server (openocd, JLinkGDBServer) and name it: --port localhost:3333",
        "apt-get install -y --no-install-recommends gdb-multiarch",
    ),
}

#: What has been run by `gdb`, in this order. A core that has been without firmware may not be in Thumb state, and where
#: the chip's boot ROM finds the vectors for it (RP2040) they are still the ROM's: VTOR, which a Cortex-M0 ignores.
_GDB = (
    "gdb-multiarch", "-batch", "-nx",
    "-ex", "set confirm off",
    "-ex", "target extended-remote $UPLOAD_PORT",
    "-ex", "load",
    "-ex", "compare-sections",
    "-ex", "set $xpsr = 0x01000000",
    "-ex", "set {unsigned int} 0xe000ed08 = (unsigned int) &port_vectors",
    "-ex", "detach",
    "$PROGRAM",
)  # fmt: skip


@dataclass(frozen=True)
class FlashResult:
    """What was flashed, and how. info: what the firmware said afterwards, or None if nobody asked it."""

    image: Path
    bytes: int
    probe: Probe
    program: str
    info: ModelInfo | None


def flash(
    project: Path,
    board: Board,
    *,
    port: str | None = None,
    probe: Probe | None = None,
    options: Sequence[str] = (),
    log: Path | None = None,
) -> FlashResult:
    """Writes the firmware of a built project to the board and verifies it.

    port: serial port of the ROM loader, or address of the GDB server. probe: by default the board's first way, or
    "uart" if a port is given. options: further ones for the program that flashes. log: where its output goes.
    Raises AcsgenError if the project is not built, there is no program for it, or nothing answers.
    """
    if not board.is_bare:
        return _flash_by_platformio(project, board, port, probe, options, log)
    elf = firmware_of(project)
    image = elf.with_suffix(".bin")
    if not elf.is_file() or not image.is_file():
        raise AcsgenError(f"{project} is not built: acsgen build {project}")
    probe = probe or _usual_probe(board, port)
    upload, program = _choose(board, probe)
    needs_port = any("$UPLOAD_PORT" in word for word in upload.command)
    if needs_port and port is None:
        raise AcsgenError(f"flashing {board.name} over {probe} needs --port; {_TOOLS[upload.command[0]].connect}")
    if port is not None and not needs_port:
        raise AcsgenError(f"flashing {board.name} over {probe} takes no --port: leave it out")
    if probe == "uart" and port is not None and port.startswith("/") and not Path(port).exists():
        raise AcsgenError(f"there is no port {port}; {ports_text()}")
    words = {"$SOURCE": str(image), "$PROGRAM": str(elf), "$UPLOAD_PORT": port or ""}
    name, *arguments = (_filled(word, words) for word in upload.command)
    command = [*program, *options, *arguments]
    output = _run(command, log)
    if problem := _problem(name, *output):
        connect = _TOOLS[name].connect if name in _TOOLS else "is the board connected and powered?"
        raise AcsgenError(f"{name} did not flash {board.name}: {problem}; {connect}")
    info = _ask(board, port) if probe == "uart" and port is not None else None
    return FlashResult(image, image.stat().st_size, probe, name, info)


def _flash_by_platformio(
    project: Path, board: Board, port: str | None, probe: Probe | None, options: Sequence[str], log: Path | None
) -> FlashResult:
    """Lets PlatformIO build and upload the project's default environment; without a port it looks for one."""
    if probe is not None and probe not in probes_of(board):
        raise AcsgenError(
            f"board {board.name} is not flashed over {probe}; PlatformIO flashes it over: {', '.join(probes_of(board))}"
        )
    environment = _default_environment(project / "platformio.ini")
    if (program := find_program("pio")) is None:
        raise AcsgenError(f"flashing {board.name} needs pio; install it: pip install platformio")
    command = [*program, "run", "-d", str(project), "-e", environment, "-t", "upload"]
    command += ["--upload-port", port] if port is not None else []
    done = _run([*command, *options], log, longest=_LONGEST_WITH_BUILD)
    if problem := _problem("pio", *done):
        raise AcsgenError(f"pio did not flash {board.name}: {problem}; {_TOOLS['esptool'].connect}")
    image = project / ".pio" / "build" / environment / "firmware.bin"
    if not image.is_file():
        raise AcsgenError(f"pio flashed {board.name}, but there is no {image}: is build_dir set in platformio.ini?")
    info = _ask(board, port) if port is not None else None
    return FlashResult(image, image.stat().st_size, "uart", "pio", info)


def _default_environment(ini: Path) -> str:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        with ini.open(encoding="utf-8") as stream:
            parser.read_file(stream)
        return parser["platformio"]["default_envs"].split(",")[0].strip()
    except OSError as error:
        raise AcsgenError(f"cannot read {ini} ({error.strerror}); generate the project anew") from error
    except (configparser.Error, KeyError, ValueError) as error:
        raise AcsgenError(f"{ini} is damaged ({error}); generate it anew") from error


def _ask(board: Board, port: str) -> ModelInfo | None:
    """What the firmware says that was just started; None if it speaks elsewhere, or must be reset first."""
    try:
        with Device(board, port, start_timeout=_BOOT_SECONDS) as device:
            return device.info
    except AcsgenError:
        return None


def probes_of(board: Board) -> tuple[Probe, ...]:
    """The probes by which a board can be flashed, a board that needs a framework by PlatformIO."""
    if not board.is_bare:
        return ("uart",)
    protocols = {upload.protocol for upload in _uploads(board)}
    return tuple(probe for probe in PROBES if protocols.intersection(_PROTOCOLS[probe]))


def _uploads(board: Board) -> tuple[Upload, ...]:
    """The ways that stand in the board's file and, for a chip with SWD, GDB."""
    has_swd = board.uploads and board.core.startswith("cortex-m")
    return (*board.uploads, *((Upload("gdb", _GDB),) if has_swd else ()))


def _usual_probe(board: Board, port: str | None) -> Probe:
    known = probes_of(board)
    if not known:
        raise AcsgenError(f"board {board.name} has no way to be flashed: it exists in an emulator only")
    if port is not None and "uart" in known:
        return "uart"
    first = board.uploads[0].protocol
    return next((probe for probe in known if first in _PROTOCOLS[probe]), known[0])


def _choose(board: Board, probe: Probe) -> tuple[Upload, list[str]]:
    """The first way over this probe whose program is here, and how that is started."""
    uploads = [upload for upload in _uploads(board) if upload.protocol in _PROTOCOLS[probe]]
    if not uploads:
        known = ", ".join(probes_of(board)) or "nothing"
        raise AcsgenError(f"board {board.name} is not flashed over {probe}; it is over: {known}")
    for upload in uploads:
        if program := find_program(upload.command[0]):
            return upload, program
    names = dict.fromkeys(upload.command[0] for upload in uploads)
    tool = _TOOLS.get(next(iter(names)))
    install = (tool and tool.install) or board.upload_install
    line = as_root(install) if install.startswith("apt-get") else install
    raise AcsgenError(f"flashing over {probe} needs {' or '.join(names)}; install it: {line}")


def find_program(name: str) -> list[str] | None:
    """How a program is started: PlatformIO's own if its package is installed, else the system's, else that of
    this Python environment; None if there is none."""
    core = Path(os.environ.get("PLATFORMIO_CORE_DIR") or Path.home() / ".platformio")
    places = [str(core / "packages" / _TOOLS[name].package)] if name in _TOOLS else []
    places += [os.environ.get("PATH", ""), str(Path(sys.executable).parent)]
    found = next((path for place in places if (path := shutil.which(name, path=place))), None)
    return None if found is None else [found]


def _filled(word: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(name, value)
    return word


def _run(command: list[str], log: Path | None, *, longest: float = _LONGEST) -> tuple[int, str]:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=longest,
            check=False,
        )
        code, output = done.returncode, done.stdout
    except subprocess.TimeoutExpired as error:
        said = error.stdout or b""
        code, output = -1, f"{said.decode('utf-8', 'replace') if isinstance(said, bytes) else said}\nit did not end"
    if log is not None:
        log.parent.mkdir(exist_ok=True)
        log.write_text(f"{' '.join(command)}\n{output}", encoding="utf-8")
    return code, output


#: Lines that only introduce the reason, and what st-flash puts before it: time, level, file.
_VAGUE_LINE = re.compile(r"probing interface|Cannot handle device")
_LOG_PREFIX = re.compile(r"^\d{4}-\d\d-\d\dT[\d:]+ [A-Z]+ \S+: ")
_WRONG_LINE = re.compile(r"error|fail|couldn't|could not|cannot|timeout|timed out|MIS-MATCHED|no device", re.IGNORECASE)
_ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def _problem(name: str, code: int, output: str) -> str | None:
    """The line of a program's output that says what went wrong; None if nothing did."""
    lines = [line.strip() for part in _ESCAPE.sub("", output).splitlines() for line in part.split("\r") if line.strip()]
    # In batch mode GDB ends with 0 whatever happened: what it compared must be the same, and be something.
    compared = [line for line in lines if line.startswith("Section ")]
    is_bad_gdb = name.startswith("gdb") and not (compared and all(line.endswith("matched.") for line in compared))
    if code == 0 and not is_bad_gdb:
        return None
    wrong = next((line for line in lines if _WRONG_LINE.search(line) and not _VAGUE_LINE.search(line)), None)
    said = wrong or (lines[-1] if lines else f"it said nothing and ended with {code}")
    return _LOG_PREFIX.sub("", said)
