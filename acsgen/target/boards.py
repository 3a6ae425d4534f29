# SPDX-License-Identifier: Apache-2.0
"""Boards: what a chip has and how it is built for, emulated and flashed.

A board is one TOML file in ``boards/``; ``docs/boards.md`` explains its keys.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from acsgen.errors import AcsgenError
from acsgen.resources import resource_dir
from acsgen.target.table import Table


@dataclass(frozen=True)
class Memory:
    """A contiguous memory."""

    base: int
    """Address of its first byte."""
    bytes: int
    """Its size in bytes."""


@dataclass(frozen=True)
class FlashTiming:
    """How fast program memory is, at one clock; what `acsgen profile` models cycles with."""

    hertz: int
    """Clock of the core that the rest holds for."""
    width_bits: int
    """What one read delivers: the width of the flash, and of a line of its caches."""
    wait_states: int
    """Cycles that a read takes beyond the first."""
    prefetch: bool
    """Whether the line behind the one in use is read ahead."""
    instruction_cache_bytes: int
    data_cache_bytes: int


@dataclass(frozen=True)
class Toolchain:
    """The cross compiler."""

    prefix: str
    """What its programs' names begin with, such as ``arm-none-eabi-``."""
    apt: tuple[str, ...]
    """The Debian packages that hold it."""
    flags: tuple[str, ...] = ()
    """Further compiler and linker flags, such as those by which it finds its C library."""

    @property
    def compiler(self) -> str:
        """Name of the C compiler."""
        return f"{self.prefix}gcc"

    @property
    def install(self) -> str:
        """The line that installs it, as root."""
        return apt_line(self.apt)


@dataclass(frozen=True)
class EmulatorSpec:
    """How the board is emulated."""

    program: str
    """Name of the emulator's program."""
    apt: tuple[str, ...]
    """The Debian packages that hold it."""
    machine: str
    """QEMU's name of the machine."""
    args: tuple[str, ...]
    """Further arguments."""
    icount_shift: int
    """An instruction takes 2^icount_shift nanoseconds of the machine's time."""
    instructions_per_tick: tuple[int, int]
    """Numerator and denominator: instructions that pass while the counter counts one tick."""
    covers: str = "board"
    """What running in it says something about: one of COVERS."""

    @property
    def install(self) -> str:
        """The line that installs it, as root."""
        return apt_line(self.apt)

    def instructions(self, ticks: int) -> int:
        """Converts a difference of the tick counter to instructions, rounding to the nearest."""
        numerator, denominator = self.instructions_per_tick
        return (2 * ticks * numerator + denominator) // (2 * denominator)


@dataclass(frozen=True)
class Step:
    """Clears bits of a register, sets others, then waits until the bits of ``mask`` are ``value``."""

    address: int
    clear: int
    set: int
    mask: int = 0
    value: int = 0


@dataclass(frozen=True)
class Clocked:
    """Something with a clock, and how it is brought up."""

    hertz_at_reset: int
    """Its clock as the chip starts, and where a step's wait was in vain."""
    hertz: int
    """Its clock after the steps."""
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Setup:
    """How a chip is brought up for which the port ``setup`` is used."""

    core: Clocked
    uart: Clocked
    uart_base: int
    """Address of its UART's registers."""
    uart_pins: str
    """For people: ``PA9 (TX), PA10 (RX)``."""


@dataclass(frozen=True)
class Official:
    """The board in PlatformIO's own registry."""

    platform: str
    """``ststm32``."""
    board: str
    """``nucleo_f411re``."""
    frameworks: tuple[str, ...] = ()
    """Those that the board needs, if it cannot be built bare."""


@dataclass(frozen=True)
class Upload:
    """One way to flash the board."""

    protocol: str
    """PlatformIO's ``upload_protocol``."""
    command: tuple[str, ...]
    """Command line; ``$SOURCE`` is the binary image, ``$UPLOAD_PORT`` the serial port."""


@dataclass(frozen=True)
class Board:
    """Everything that acsgen knows of a board."""

    name: str
    title: str
    vendor: str
    url: str
    core: str
    """The processor, as the kernel sets name it: ``cortex-m4f``."""
    cpu_flags: tuple[str, ...]
    """Compiler and linker flags that select the processor."""
    defines: tuple[str, ...]
    """Preprocessor definitions, ``NAME=VALUE``."""
    ports: tuple[str, ...]
    """Folders of ``firmware/ports`` whose files make up the port; none for a board that needs a framework."""
    linker_script: str
    """Name of the linker script in one of them."""
    kernel_sets: tuple[str, ...]
    """Kernel sets that run on it, the best supported first."""
    stack_bytes: int
    toolchain: Toolchain
    flash: Memory
    flash_timing: FlashTiming | None
    """None: nothing is known of it, or the memory answers at once."""
    ram: Memory
    tick_hertz: int
    """Frequency of the tick counter on the real board."""
    setup: Setup | None
    official: Official | None
    emulator: EmulatorSpec | None
    hardware: str
    """What of acsgen has been run on the board itself: ``never``."""
    uploads: tuple[Upload, ...]
    """Ways to flash it, the default first; none for a board that exists in the emulator only."""
    upload_apt: tuple[str, ...]
    """The Debian packages that hold the programs which flash it."""
    path: Path
    """The file that it was read from."""

    @property
    def is_bare(self) -> bool:
        """Whether acsgen's own port runs on it; else it needs a framework, with which PlatformIO or ESP-IDF builds."""
        return bool(self.ports)

    @property
    def core_hertz(self) -> int:
        """Clock of the core on the real board."""
        return self.setup.core.hertz if self.setup else self.tick_hertz

    def cycles(self, ticks: int) -> int:
        """Converts a difference of the tick counter to cycles of the core on the real board."""
        return (2 * ticks * self.core_hertz + self.tick_hertz) // (2 * self.tick_hertz)

    @property
    def upload_install(self) -> str:
        """The line that installs what flashes it, as root."""
        return apt_line(self.upload_apt)


def list_boards() -> list[str]:
    """Returns the names of all boards, sorted."""
    return sorted(path.stem for path in resource_dir("boards").glob("*.toml"))


def load_board(name: str) -> Board:
    """Loads a board by its name, or from a file of one's own if the name ends in ``.toml``."""
    if name.endswith(".toml"):
        return read_board(Path(name))
    known = list_boards()
    if name not in known:
        near = get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known)}"
        raise AcsgenError(f"no board is called {name!r}; {hint}")
    return read_board(resource_dir("boards") / f"{name}.toml")


def read_board(path: Path, name: str | None = None) -> Board:
    """Reads one board's TOML file; the board is called as the file is, unless a name is given."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AcsgenError(f"cannot read board file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise AcsgenError(f"{path} is not a TOML file: {error}") from error
    return _board(Table(path, "", document), name or path.stem, path)


def apt_line(packages: tuple[str, ...]) -> str:
    """Returns the line with which root installs Debian packages; for files, which anybody may read."""
    return f"apt-get install -y --no-install-recommends {' '.join(packages)}"


def as_root(line: str) -> str:
    """Returns a line as this user has to type it to run it as root; for messages."""
    return line if os.geteuid() == 0 else f"sudo {line}"


#: What an emulator can say something about: the board with its chip, or the instruction set alone.
COVERS = ("board", "instructions")


def _board(table: Table, name: str, path: Path) -> Board:
    official = _official(table.table("platformio")) if table.has("platformio") else None
    is_bare = official is None or not official.frameworks
    uploads, upload_apt = _uploads(table.table("upload")) if table.has("upload") else ((), ())
    flash = table.table("flash")
    board = Board(
        name=name,
        title=table.text("title"),
        vendor=table.text("vendor"),
        url=table.text("url"),
        core=table.text("core"),
        cpu_flags=table.texts("cpu_flags") if is_bare else (),
        defines=table.texts("defines") if is_bare else (),
        ports=table.texts("ports") if is_bare else (),
        linker_script=table.text("linker_script") if is_bare else "",
        kernel_sets=table.texts("kernel_sets"),
        stack_bytes=table.number("stack_bytes", least=256),
        toolchain=_toolchain(table.table("toolchain")) if is_bare else Toolchain("", ()),
        flash_timing=_flash_timing(flash.table("timing")) if flash.has("timing") else None,
        flash=_memory(flash),
        ram=_memory(table.table("ram")),
        tick_hertz=_tick_hertz(table.table("ticks")),
        setup=_setup(table) if table.has("clock") else None,
        official=official,
        emulator=_emulator(table.table("emulator")) if table.has("emulator") else None,
        hardware=table.text("hardware") if table.has("hardware") else "never",
        uploads=uploads,
        upload_apt=upload_apt,
        path=path,
    )
    table.end()
    return board


def _toolchain(table: Table) -> Toolchain:
    flags = table.texts("flags") if table.has("flags") else ()
    toolchain = Toolchain(prefix=table.text("prefix"), apt=table.texts("apt"), flags=flags)
    table.end()
    return toolchain


def _memory(table: Table) -> Memory:
    memory = Memory(base=table.number("base"), bytes=table.number("bytes", least=1))
    table.end()
    return memory


def _flash_timing(table: Table) -> FlashTiming:
    timing = FlashTiming(
        hertz=table.number("hertz", least=1),
        width_bits=table.number("width_bits", least=32),
        wait_states=table.number("wait_states"),
        prefetch=table.flag("prefetch"),
        instruction_cache_bytes=table.number("instruction_cache_bytes"),
        data_cache_bytes=table.number("data_cache_bytes"),
    )
    if timing.width_bits & (timing.width_bits - 1):
        raise table.error("width_bits", "must be a power of two")
    for key, size in (
        ("instruction_cache_bytes", timing.instruction_cache_bytes),
        ("data_cache_bytes", timing.data_cache_bytes),
    ):
        if size * 8 % timing.width_bits:
            raise table.error(key, "must be a multiple of width_bits")
    table.end()
    return timing


def _tick_hertz(table: Table) -> int:
    hertz = table.number("hertz", least=1)
    table.end()
    return hertz


def _setup(table: Table) -> Setup:
    clock, uart = table.table("clock"), table.table("uart")
    setup = Setup(core=_clocked(clock), uart=_clocked(uart), uart_base=uart.number("base"), uart_pins=uart.text("pins"))
    clock.end()
    uart.end()
    return setup


def _clocked(table: Table) -> Clocked:
    return Clocked(
        hertz_at_reset=table.number("hertz_at_reset", least=1),
        hertz=table.number("hertz", least=1),
        steps=tuple(Step(*row) for row in table.rows("steps", (3, 5))),
    )


def _official(table: Table) -> Official:
    frameworks = table.texts("frameworks") if table.has("frameworks") else ()
    official = Official(platform=table.text("platform"), board=table.text("board"), frameworks=frameworks)
    table.end()
    return official


def _emulator(table: Table) -> EmulatorSpec:
    numerator, denominator = table.numbers("instructions_per_tick", 2)
    covers = table.text("covers") if table.has("covers") else COVERS[0]
    if covers not in COVERS:
        raise table.error("covers", f"must be one of {', '.join(COVERS)}")
    spec = EmulatorSpec(
        program=table.text("program"),
        apt=table.texts("apt"),
        machine=table.text("machine"),
        args=table.texts("args"),
        icount_shift=table.number("icount_shift"),
        instructions_per_tick=(numerator, denominator),
        covers=covers,
    )
    table.end()
    return spec


def _uploads(table: Table) -> tuple[tuple[Upload, ...], tuple[str, ...]]:
    """Returns the ways to flash a board, and the packages that they need."""
    default = table.text("default")
    apt = table.texts("apt")
    commands = table.table("commands")
    uploads = [Upload(protocol, commands.texts(protocol)) for protocol in commands.rest()]
    if default not in [upload.protocol for upload in uploads]:
        raise table.error("default", f"is {default!r}, which is not one of upload.commands")
    table.end()
    return tuple(sorted(uploads, key=lambda upload: upload.protocol != default)), apt
