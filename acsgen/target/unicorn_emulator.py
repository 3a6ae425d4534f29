# SPDX-License-Identifier: Apache-2.0
"""Runs a Cortex-M's firmware in Unicorn, a second engine that is a Python package (``acsgen[unicorn]``).

It knows a core's instructions and memories, and nothing of a chip: but for the UART every peripheral reads as 0. So
what it runs is the very file that is flashed, and what it checks is its instructions, not its clocks, pins or faults.
Semihosting is served here; the firmware believes that it has an emulator as QEMU is one.
"""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from acsgen.errors import AcsgenError
from acsgen.target.boards import Board
from acsgen.target.emulator import Transport
from acsgen.target.link import LinkClient, LinkError
from acsgen.target.running import Running

#: Unicorn's name of each core. It has no Cortex-M55, and a Cortex-M0+ has the instructions of an M0.
CORES = {
    "cortex-m0": "CORTEX_M0",
    "cortex-m0plus": "CORTEX_M0",
    "cortex-m3": "CORTEX_M3",
    "cortex-m4": "CORTEX_M4",
    "cortex-m4f": "CORTEX_M4",
    "cortex-m7": "CORTEX_M7",
    "cortex-m33": "CORTEX_M33",
}

#: The port's functions that restart and read the firmware's counter.
COUNTER = ("port_ticks_restart", "port_ticks")

INSTALL = "pip install 'acsgen[unicorn]'"

#: Where the architecture puts peripherals, and those of the core itself: address, bytes.
_PERIPHERALS = ((0x4000_0000, 0x2000_0000), (0xE000_0000, 0x10_0000))
_PAGE = 0x1000

_BREAKPOINT = 7
"""Unicorn's number of the exception that BKPT takes."""
_STACK_LIMIT = 19
"""... and of a stack pointer below MSPLIM."""
_EXCEPTIONS = {3: "jump to nowhere", 4: "access to nowhere"}
_LITTLE_STACK = 256
"""Bytes of stack below which a fault is taken for an overflow, as firmware/ports/common/core.h does."""
_BKPT_SEMIHOSTING = b"\xab\xbe"
_SYS_OPEN, _SYS_WRITE0, _SYS_WRITE, _SYS_READ, _SYS_EXIT_EXTENDED = 0x01, 0x04, 0x05, 0x06, 0x20
_NOBODY = 0xFFFF_FFFF
_OPENED_TO_READ, _HANDLE_IN, _HANDLE_OUT = 1, 1, 2


def has_core(board: Board) -> bool:
    """Whether Unicorn has the board's core, and the firmware would be acsgen's own."""
    return board.is_bare and board.core in CORES


def is_installed() -> bool:
    return find_spec("unicorn") is not None


class UnicornEmulator(Running):
    """A board's core in Unicorn, with firmware in it that waits for inputs; used as ``Emulator`` is.

    Instructions are counted exactly, and are what the firmware takes for its ticks: from the call that restarts its
    counter to the call that reads it; QEMU counts from one access of the counter to the other, a fixed few fewer.
    """

    def __init__(
        self, board: Board, elf: Path, *, transport: Transport = "semihosting", start_timeout: float = 30.0
    ) -> None:
        """``start_timeout`` is in seconds."""
        if transport == "uart" and not has_uart(board):
            raise AcsgenError(f"board {board.name} has no UART in Unicorn; use semihosting")
        if not has_core(board):
            raise AcsgenError(f"board {board.name}: Unicorn has no {board.core}; use QEMU")
        if not is_installed():
            raise AcsgenError(f"this needs the Python package unicorn; install it: {INSTALL}")
        super().__init__(lambda ticks: ticks, counts_instructions=True)
        self._board = board
        self._elf = elf
        self._transport = transport
        self._start_timeout = start_timeout
        self._core: _Core | None = None

    def __enter__(self) -> Self:
        if not self._elf.is_file():
            raise AcsgenError(f"there is no firmware {self._elf}; build the project first")
        self._core = _Core(self._board, self._elf, self._transport)
        self.link = LinkClient(self._core)
        self.info = self.link.connect(self._start_timeout)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def written(self) -> dict[int, int]:
        """What the firmware wrote last to every register of a peripheral, by its address."""
        assert self._core is not None
        return self._core.written

    def close(self) -> None:
        """Forgets the core; may be called twice."""
        self._core = None


class _Core:
    """The core and its memories; as a ``ByteStream``, the other end of the firmware's semihosting or UART."""

    def __init__(self, board: Board, elf: Path, transport: Transport) -> None:
        import unicorn
        from unicorn import arm_const

        self._unicorn: Any = unicorn
        self._arm: Any = arm_const
        self._ram = board.ram.base
        self._elf = elf
        self._input, self._output, self._said = bytearray(), bytearray(), ""
        self._ended: str | None = None
        self._exception: int | None = None
        self._total = self._block = 0
        self._lengths: dict[tuple[int, int], int] = {}
        self._uart = next((_UARTS[port] for port in board.ports if port in _UARTS), None)
        self._uart_base = board.setup.uart_base if board.setup and transport == "uart" else None
        self._idle_polls = 0
        self.written: dict[int, int] = {}
        """What was written last to every register of a peripheral, by its address."""
        image = _read_elf(elf)
        self._uc: Any = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
        uc = self._uc
        uc.ctl_set_cpu_model(getattr(arm_const, f"UC_CPU_ARM_{CORES[board.core]}"))
        read_only = unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC
        for memory, access in ((board.flash, read_only), (board.ram, unicorn.UC_PROT_ALL)):
            uc.mem_map(memory.base, -(-memory.bytes // _PAGE) * _PAGE, access)
        for base, size in _PERIPHERALS:
            uc.mmio_map(base, size, self._load, base, self._store, base)
        for address, content in image.loaded:
            uc.mem_write(address, content)
        self._pc = image.entry
        uc.hook_add(unicorn.UC_HOOK_INTR, self._interrupted)
        uc.hook_add(unicorn.UC_HOOK_BLOCK, self._block_begins)
        for name, hook in zip(COUNTER, (self._restarted, self._read), strict=True):
            uc.hook_add(unicorn.UC_HOOK_CODE, hook, begin=image.functions[name], end=image.functions[name])

    def read(self, size: int, timeout: float) -> bytes:
        """Lets the core run until it has written something."""
        deadline = time.monotonic() + timeout
        while not self._output:
            if not (self._run(deadline) and self._serve()):
                raise LinkError("the firmware does not answer")
        data = bytes(self._output[:size])
        del self._output[:size]
        return data

    def write(self, data: bytes, timeout: float) -> None:
        self._input += data

    def _run(self, deadline: float) -> bool:
        """Lets the core run to its next semihosting call; False if the time is over, or it waits for its UART."""
        if self._ended is not None:
            raise AcsgenError(self._ended)
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        self._exception = None
        self._idle_polls = 0
        try:
            self._uc.emu_start(self._pc | 1, 0xFFFF_FFFE, timeout=max(1, int(left * 1e6)))
        except self._unicorn.UcError as error:
            self._stop(str(error))
        self._pc = self._register("PC")
        if self._exception is None:
            return bool(self._output)
        if self._exception != _BREAKPOINT or self._uc.mem_read(self._pc, 2) != _BKPT_SEMIHOSTING:
            self._stop(_EXCEPTIONS.get(self._exception, f"exception {self._exception} of Unicorn's"))
        return True

    def _serve(self) -> bool:
        """Does what the firmware asks for and steps over the call; False if it asks for input and there is none."""
        if self._exception is None:
            return True
        operation, argument = self._register("R0"), self._register("R1")
        if self._uart_base is not None:
            result = _NOBODY
        elif operation == _SYS_OPEN:
            _, mode, _ = self._words(argument, 3)
            result = _HANDLE_IN if mode == _OPENED_TO_READ else _HANDLE_OUT
        elif operation == _SYS_READ:
            _, address, size = self._words(argument, 3)
            if not self._input:
                return False
            data = bytes(self._input[:size])
            del self._input[:size]
            self._uc.mem_write(address, data)
            result = size - len(data)
        elif operation == _SYS_WRITE:
            _, address, size = self._words(argument, 3)
            self._output += self._uc.mem_read(address, size)
            result = 0
        elif operation == _SYS_WRITE0:
            self._said += self._text(argument)
            result = 0
        elif operation == _SYS_EXIT_EXTENDED:
            _, code = self._words(argument, 2)
            said = self._said.splitlines()
            self._end(f"ended with exit code {code}: {said[0] if said else 'it said nothing'}")
        else:
            self._end(f"asks for semihosting operation 0x{operation:x}, which is not served")
        self._uc.reg_write(self._arm.UC_ARM_REG_R0, result)
        self._pc += len(_BKPT_SEMIHOSTING)
        return True

    def _stop(self, why: str) -> NoReturn:
        """Ends because of a fault, of which Unicorn says less than the firmware's handler would."""
        if self._exception == _STACK_LIMIT or self._register("SP") < self._ram + _LITTLE_STACK:
            why = "stack overflow"
        self._end(f"stopped at pc 0x{self._register('PC'):08x}: {why}")

    def _end(self, how: str) -> NoReturn:
        self._ended = f"unicorn with {self._elf} {how}"
        raise AcsgenError(self._ended)

    def _register(self, name: str) -> int:
        return int(self._uc.reg_read(getattr(self._arm, f"UC_ARM_REG_{name}")))

    def _words(self, address: int, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}I", self._uc.mem_read(address, 4 * count))

    def _text(self, address: int) -> str:
        end = address
        while self._uc.mem_read(end, 1) != b"\0":
            end += 1
        return bytes(self._uc.mem_read(address, end - address)).decode("utf-8", errors="replace")

    # Hooks; Unicorn passes itself first and its user's data last.

    def _interrupted(self, uc: Any, exception: int, _: Any) -> None:
        self._exception = exception
        uc.emu_stop()

    def _block_begins(self, uc: Any, address: int, size: int, _: Any) -> None:
        count = self._lengths.get((address, size))
        if count is None:
            count = self._lengths[address, size] = thumb_instructions(bytes(uc.mem_read(address, size)))
        self._block = count
        self._total += count

    def _restarted(self, *_: Any) -> None:
        self._total = self._block  # the function is the beginning of a block, which is counted already

    def _read(self, uc: Any, *_: Any) -> None:
        """In place of the function, which would ask a peripheral."""
        uc.reg_write(self._arm.UC_ARM_REG_R0, (self._total - self._block) & 0xFFFF_FFFF)
        uc.reg_write(self._arm.UC_ARM_REG_PC, uc.reg_read(self._arm.UC_ARM_REG_LR))

    def _load(self, uc: Any, offset: int, size: int, base: int) -> int:
        at = base + offset - (self._uart_base or 0)
        if self._uart is None or self._uart_base is None:
            return 0
        if at == self._uart.status:
            self._idle_polls += not self._input
            if self._idle_polls > _IDLE_POLLS:
                uc.emu_stop()
            return self._uart.filled if self._input else self._uart.empty
        return self._input.pop(0) if at == self._uart.receive and self._input else 0

    def _store(self, uc: Any, offset: int, size: int, value: int, base: int) -> None:
        self.written[base + offset] = value
        if self._uart and self._uart_base is not None and base + offset == self._uart_base + self._uart.transmit:
            self._output.append(value & 0xFF)
            self._idle_polls = 0


def thumb_instructions(code: bytes) -> int:
    """Counts instructions: those whose first half word begins with 0b11101 or more have two (ARMv7-M, A5.1)."""
    at = count = 0
    while at < len(code):
        at += 4 if code[at + 1] >= 0xE8 else 2
        count += 1
    return count


@dataclass(frozen=True)
class _Uart:
    """Registers of a UART, by their distance from its first. empty, filled: the status without and with input."""

    status: int
    receive: int
    transmit: int
    empty: int
    filled: int


#: By the folder of the port that drives it (firmware/ports): as the manuals named there say.
_UARTS = {
    "stm32_usart_v1": _Uart(0x00, 0x04, 0x04, 0x80, 0xA0),
    "stm32_usart_v2": _Uart(0x1C, 0x24, 0x28, 0x80, 0xA0),
    "pl011": _Uart(0x18, 0x00, 0x00, 0x10, 0x00),
}
_IDLE_POLLS = 100
"""So many looks at the status in a row, without input, are a firmware that waits for it."""


def has_uart(board: Board) -> bool:
    """Whether the board's UART can be played here."""
    return board.setup is not None and any(port in _UARTS for port in board.ports)


@dataclass(frozen=True)
class _Image:
    """What a firmware's ELF says."""

    entry: int
    loaded: tuple[tuple[int, bytes], ...]
    """Addresses and contents."""
    functions: dict[str, int]
    """Addresses of what is in COUNTER."""


def _read_elf(elf: Path) -> _Image:
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with elf.open("rb") as stream:
            file = ELFFile(stream)
            loaded = tuple(
                (segment["p_paddr"], segment.data())
                for segment in file.iter_segments("PT_LOAD")
                if segment["p_filesz"] > 0
            )
            symbols: Any = file.get_section_by_name(".symtab")
            functions = {name: symbols.get_symbol_by_name(name)[0]["st_value"] & ~1 for name in COUNTER}
            return _Image(file["e_entry"] & ~1, loaded, functions)
    except (OSError, ELFError, AttributeError, TypeError) as error:
        raise AcsgenError(f"cannot read firmware {elf}: {error}") from error
