# SPDX-License-Identifier: Apache-2.0
"""Runs firmware in QEMU.

An emulator needs Linux or macOS (or WSL): QEMU inherits a socket.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

from acsgen.errors import AcsgenError
from acsgen.target.boards import Board, EmulatorSpec, as_root
from acsgen.target.link import LinkClient
from acsgen.target.running import Running
from acsgen.target.running import RunResult as RunResult
from acsgen.target.stream import SocketStream

Transport = Literal["semihosting", "uart"]
"""How the firmware reaches the host: quickly, or the way that a real board does."""


@dataclass(frozen=True)
class _Program:
    """How one of QEMU's programs is used. load: arguments that load the firmware."""

    load: Callable[[Path], list[str]]
    quiet: str = "null"
    """What ``-serial`` is told when the firmware shall use semihosting."""
    has_uart: bool = True
    """Whether its machine has a UART that the firmware can use."""


def _as_kernel(elf: Path) -> list[str]:
    return ["-kernel", str(elf)]


def _into_memory(elf: Path) -> list[str]:
    """Starts at the ELF's entry."""
    return ["-device", f"loader,file={option_value(elf)},cpu-num=0"]


def option_value(path: Path) -> str:
    """A path as a value within one of QEMU's options, where a comma is doubled."""
    return str(path).replace(",", ",,")


_PROGRAMS = {
    "qemu-system-arm": _Program(_as_kernel),
    "qemu-system-riscv32": _Program(_as_kernel),
    # With -kernel it starts at the reset vector, and any -serial takes the place of the firmware's files.
    "qemu-system-xtensa": _Program(_into_memory, quiet="none", has_uart=False),
}

_END_SECONDS = 2.0
_STDERR_BYTES = 2000
"""How much of QEMU's messages is looked at; what matters comes first, registers after."""


class Emulator(Running):
    """A board in QEMU, with firmware in it that waits for inputs.

    .. code-block:: python

        with Emulator(load_board("stm32f405"), result.elf) as emulator:
            run = emulator.run(image, RunMode.SKIP)
    """

    def __init__(
        self,
        board: Board,
        elf: Path,
        *,
        transport: Transport = "semihosting",
        start_timeout: float = 30.0,
        arguments: Sequence[str] = (),
    ) -> None:
        """``start_timeout`` is in seconds; ``arguments`` are further ones for QEMU, such as a plugin."""
        self._spec = _require_emulator(board, transport)
        super().__init__(self._spec.instructions, counts_instructions=True)
        self._elf = elf
        self._transport = transport
        self._start_timeout = start_timeout
        self._arguments = tuple(arguments)
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._stderr: IO[bytes] | None = None

    def __enter__(self) -> Self:
        if not self._elf.is_file():
            raise AcsgenError(f"there is no firmware {self._elf}; build the project first")
        try:
            self._start()
            self.info = self.link.connect(self._start_timeout)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def wait(self, timeout: float = 10.0) -> int:
        """Waits until the firmware has ended, and returns its exit code; ``timeout`` in seconds."""
        assert self._process is not None
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AcsgenError(f"the firmware did not end within {timeout:g} s") from None

    def close(self) -> None:
        """Ends the emulator, whatever it is doing."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._stderr is not None:
            self._stderr.close()

    def _start(self) -> None:
        self._connection, theirs = socket.socketpair()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115, closed in close()
        with theirs:
            fd = theirs.fileno()
            uart = self._transport == "uart"
            self._process = subprocess.Popen(
                [*_command(self._spec, self._elf, fd if uart else None), *self._arguments],
                stdin=subprocess.DEVNULL if uart else fd,
                stdout=subprocess.DEVNULL if uart else fd,
                stderr=self._stderr,
                pass_fds=(fd,) if uart else (),
            )
        self.link = LinkClient(SocketStream(self._connection, self._post_mortem))

    def _post_mortem(self) -> str:
        """Says how the emulator ended."""
        assert self._process is not None
        assert self._stderr is not None
        try:
            code: int | None = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        self._stderr.seek(0)
        text = self._stderr.read(_STDERR_BYTES).decode("utf-8", errors="replace")
        lines = [line.strip() for line in text.splitlines() if line and "warning:" not in line]
        said = lines[0] if lines else "it said nothing"
        how = "closed the link" if code is None else f"ended with exit code {code}"
        return f"{self._spec.program} with {self._elf} {how}: {said}"


def transports(board: Board) -> tuple[Transport, ...]:
    """How the firmware of a board can reach the host when it runs in the emulator; the quick way first.

    Raises AcsgenError if the board has no emulator, or one that is not known.
    """
    spec = board.emulator
    if spec is None:
        raise AcsgenError(f"board {board.name} has no emulator; name a real one: --on PORT")
    if spec.program not in _PROGRAMS:
        raise AcsgenError(f"{board.path}: emulator.program is {spec.program!r}, known are: {', '.join(_PROGRAMS)}")
    return ("semihosting", "uart") if _PROGRAMS[spec.program].has_uart else ("semihosting",)


def _require_emulator(board: Board, transport: Transport) -> EmulatorSpec:
    if transport not in transports(board):
        raise AcsgenError(f"board {board.name} has no UART in its emulator; use semihosting")
    spec = board.emulator
    assert spec is not None  # transports() looked
    if shutil.which(spec.program) is None:
        raise AcsgenError(f"running needs {spec.program}; install it: {as_root(spec.install)}")
    return spec


def _command(spec: EmulatorSpec, elf: Path, uart_fd: int | None) -> list[str]:
    """``uart_fd`` is the socket for the UART; without one the firmware gets semihosting."""
    program = _PROGRAMS[spec.program]
    command = [spec.program, "-M", spec.machine, *program.load(elf)]
    command += ["-display", "none", "-monitor", "none"]
    command += ["-icount", f"shift={spec.icount_shift},sleep=off,align=off", *spec.args]
    if uart_fd is None:
        return [*command, "-serial", program.quiet, "-semihosting-config", "enable=on,target=native"]
    return [*command, "-chardev", f"socket,id=uart,fd={uart_fd}", "-serial", "chardev:uart"]
