# SPDX-License-Identifier: Apache-2.0
"""Boards: what a chip has and how it is built for, emulated and flashed.

A board is one TOML file in ``boards/``; ``docs/boards.md`` explains its keys.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from acsgen.errors import AcsgenError
from acsgen.resources import resource_dir


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

    @property
    def install(self) -> str:
        """The line that installs it, as root."""
        return apt_line(self.apt)

    def instructions(self, ticks: int) -> int:
        """Converts a difference of the tick counter to instructions, rounding to the nearest."""
        numerator, denominator = self.instructions_per_tick
        return (2 * ticks * numerator + denominator) // (2 * denominator)


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
    """Folders of ``firmware/ports`` whose files make up the port."""
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
    emulator: EmulatorSpec | None
    uploads: tuple[Upload, ...]
    """Ways to flash it, the default first; none for a board that exists in the emulator only."""
    upload_apt: tuple[str, ...]
    """The Debian packages that hold the programs which flash it."""
    path: Path
    """The file that it was read from."""

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
    return _board(_Table(path, "", document), name or path.stem, path)


def apt_line(packages: tuple[str, ...]) -> str:
    """Returns the line with which root installs Debian packages; for files, which anybody may read."""
    return f"apt-get install -y --no-install-recommends {' '.join(packages)}"


def as_root(line: str) -> str:
    """Returns a line as this user has to type it to run it as root; for messages."""
    return line if os.geteuid() == 0 else f"sudo {line}"


_T = TypeVar("_T")

_TOML_NAMES: dict[type[Any], str] = {
    str: "string",
    int: "whole number",
    bool: "true or false",
    list: "list",
    dict: "table",
}


class _Table:
    """A TOML table whose values are taken out by name and type; what is left over is an error."""

    def __init__(self, path: Path, place: str, values: Mapping[str, Any]) -> None:
        self._path = path
        self._place = place
        self._values = dict(values)

    def text(self, key: str) -> str:
        value = self._take(key, str)
        if not value.isprintable():
            raise self.error(key, "must be printable text on one line")
        return value

    def number(self, key: str, *, least: int = 0) -> int:
        value = self._take(key, int)
        if isinstance(value, bool) or value < least:
            raise self.error(key, f"must be a whole number, {least} or more")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        values = self._take(key, list)
        if not all(isinstance(value, str) for value in values):
            raise self.error(key, "must be a list of strings")
        return tuple(values)

    def numbers(self, key: str, count: int) -> tuple[int, ...]:
        values = self._take(key, list)
        if len(values) != count or not all(type(value) is int and value > 0 for value in values):
            raise self.error(key, f"must be a list of {count} positive whole numbers")
        return tuple(values)

    def table(self, key: str) -> _Table:
        return _Table(self._path, f"{self._place}{key}.", self._take(key, dict))

    def flag(self, key: str) -> bool:
        return self._take(key, bool)

    def has(self, key: str) -> bool:
        return key in self._values

    def rest(self) -> list[str]:
        """Returns the keys that have not been taken."""
        return list(self._values)

    def end(self) -> None:
        """Raises if a key is left that nobody has taken."""
        for key in self._values:
            raise self.error(key, "is not a key that boards have")

    def error(self, key: str, problem: str) -> AcsgenError:
        return AcsgenError(f"{self._path}: {self._place}{key} {problem}")

    def _take(self, key: str, kind: type[_T]) -> _T:
        if key not in self._values:
            raise self.error(key, "is missing")
        value = self._values.pop(key)
        if not isinstance(value, kind):
            raise self.error(key, f"must be {'' if kind is bool else 'a '}{_TOML_NAMES[kind]}")
        return value


def _board(table: _Table, name: str, path: Path) -> Board:
    uploads, upload_apt = _uploads(table.table("upload")) if table.has("upload") else ((), ())
    flash = table.table("flash")
    board = Board(
        name=name,
        title=table.text("title"),
        vendor=table.text("vendor"),
        url=table.text("url"),
        core=table.text("core"),
        cpu_flags=table.texts("cpu_flags"),
        defines=table.texts("defines"),
        ports=table.texts("ports"),
        linker_script=table.text("linker_script"),
        kernel_sets=table.texts("kernel_sets"),
        stack_bytes=table.number("stack_bytes", least=256),
        toolchain=_toolchain(table.table("toolchain")),
        flash_timing=_flash_timing(flash.table("timing")) if flash.has("timing") else None,
        flash=_memory(flash),
        ram=_memory(table.table("ram")),
        tick_hertz=_tick_hertz(table.table("ticks")),
        emulator=_emulator(table.table("emulator")) if table.has("emulator") else None,
        uploads=uploads,
        upload_apt=upload_apt,
        path=path,
    )
    table.end()
    return board


def _toolchain(table: _Table) -> Toolchain:
    flags = table.texts("flags") if table.has("flags") else ()
    toolchain = Toolchain(prefix=table.text("prefix"), apt=table.texts("apt"), flags=flags)
    table.end()
    return toolchain


def _memory(table: _Table) -> Memory:
    memory = Memory(base=table.number("base"), bytes=table.number("bytes", least=1))
    table.end()
    return memory


def _flash_timing(table: _Table) -> FlashTiming:
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


def _tick_hertz(table: _Table) -> int:
    hertz = table.number("hertz", least=1)
    table.end()
    return hertz


def _emulator(table: _Table) -> EmulatorSpec:
    numerator, denominator = table.numbers("instructions_per_tick", 2)
    spec = EmulatorSpec(
        program=table.text("program"),
        apt=table.texts("apt"),
        machine=table.text("machine"),
        args=table.texts("args"),
        icount_shift=table.number("icount_shift"),
        instructions_per_tick=(numerator, denominator),
    )
    table.end()
    return spec


def _uploads(table: _Table) -> tuple[tuple[Upload, ...], tuple[str, ...]]:
    """Returns the ways to flash a board, and the packages that they need."""
    default = table.text("default")
    apt = table.texts("apt")
    commands = table.table("commands")
    uploads = [Upload(protocol, commands.texts(protocol)) for protocol in commands.rest()]
    if default not in [upload.protocol for upload in uploads]:
        raise table.error("default", f"is {default!r}, which is not one of upload.commands")
    table.end()
    return tuple(sorted(uploads, key=lambda upload: upload.protocol != default)), apt
