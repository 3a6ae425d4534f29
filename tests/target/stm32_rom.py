# SPDX-License-Identifier: Apache-2.0
"""A model of an STM32F405 with its ROM loader (ST's application note AN3155) on a pseudo-terminal.

The loader writes a flash that behaves like one: erased bytes are 0xFF, writing only clears bits. Told to start the
firmware, it boots what is in the flash in QEMU, and the pseudo-terminal is then the firmware's UART.
"""

from __future__ import annotations

import contextlib
import os
import pty
import socket
import subprocess
import threading
import tty
from functools import reduce
from operator import xor
from pathlib import Path
from types import TracebackType
from typing import Self

FLASH_BASE, FLASH_BYTES = 0x08000000, 0x100000
RAM_BASE = 0x20000000
CHIP_ID = 0x413
ACK, NACK, HELLO = b"\x79", b"\x1f", 0x7F
GET, VERSION, ID, READ, GO, WRITE, ERASE = 0x00, 0x01, 0x02, 0x11, 0x21, 0x31, 0x44
COMMANDS = bytes([GET, VERSION, ID, READ, GO, WRITE, ERASE])
LOADER_VERSION = 0x31
#: Of the STM32F405, in KB.
SECTORS = (16, 16, 16, 16, 64, 128, 128, 128, 128, 128, 128, 128)


class Stm32:
    """Use it as a context; `port` is where `stm32flash` and acsgen find it. worn: a bit that cannot be cleared."""

    def __init__(self, folder: Path, worn: int | None = None) -> None:
        self.flash = bytearray(b"\0" * FLASH_BYTES)  # of an earlier firmware: it must be erased
        self.booted = threading.Event()
        self._worn = worn
        self._image = folder / "flash.bin"
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self._qemu: subprocess.Popen[bytes] | None = None
        self._uart: socket.socket | None = None
        self._thread = threading.Thread(target=self._live, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait()
        if self._uart is not None:
            self._uart.close()
        os.close(self._slave)  # ends the thread's read
        self._thread.join(5)
        os.close(self._master)

    def _live(self) -> None:
        with contextlib.suppress(OSError):
            while self._byte() != HELLO:
                pass
            os.write(self._master, ACK)
            while not self.booted.is_set():
                self._command()
            self._be_wire()

    def _byte(self) -> int:
        return self._bytes(1)[0]

    def _bytes(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            data += os.read(self._master, count - len(data))
        return data

    def _checked(self, data: bytes) -> bytes:
        """Data whose checksum follows; of a single byte that is its complement."""
        wanted = data[0] ^ 0xFF if len(data) == 1 else reduce(xor, data)
        if self._byte() != wanted:
            raise ValueError
        return data

    def _command(self) -> None:
        try:
            (command,) = self._checked(self._bytes(1))
            actions = {
                GET: lambda: self._tell(bytes([len(COMMANDS), LOADER_VERSION]) + COMMANDS),
                VERSION: lambda: self._tell(bytes([LOADER_VERSION, 0, 0])),
                ID: lambda: self._tell(bytes([1]) + CHIP_ID.to_bytes(2, "big")),
                READ: self._read,
                WRITE: self._write,
                ERASE: self._erase,
                GO: self._go,
            }
            action = actions[command]
        except (ValueError, KeyError):
            os.write(self._master, NACK)
            return
        os.write(self._master, ACK)
        try:
            action()
        except ValueError:
            os.write(self._master, NACK)
        else:
            if command != READ:
                os.write(self._master, ACK)
            if command == GO:
                self._boot()

    def _tell(self, data: bytes) -> None:
        os.write(self._master, data)

    def _address(self) -> int:
        address = int.from_bytes(self._checked(self._bytes(4)), "big")
        if not FLASH_BASE <= address < FLASH_BASE + FLASH_BYTES:
            raise ValueError
        os.write(self._master, ACK)
        return address - FLASH_BASE

    def _read(self) -> None:
        at = self._address()
        (last,) = self._checked(self._bytes(1))
        os.write(self._master, ACK + bytes(self.flash[at : at + last + 1]))

    def _write(self) -> None:
        at = self._address()
        last = self._byte()
        data = self._checked(bytes([last]) + self._bytes(last + 1))[1:]
        for i, byte in enumerate(data, at):
            self.flash[i] &= byte
        if self._worn is not None:
            self.flash[self._worn] |= 1

    def _erase(self) -> None:
        """Extended erase: all, or a list of sectors."""
        count = int.from_bytes(head := self._bytes(2), "big")
        if count == 0xFFFF:
            self._checked(head)
            self.flash[:] = b"\xff" * FLASH_BYTES
            return
        listed = self._checked(head + self._bytes(2 * (count + 1)))[2:]
        for i in range(0, len(listed), 2):
            sector = int.from_bytes(listed[i : i + 2], "big")
            start = 1024 * sum(SECTORS[:sector])
            size = 1024 * SECTORS[sector]
            self.flash[start : start + size] = b"\xff" * size

    def _go(self) -> None:
        address = int.from_bytes(self._checked(self._bytes(4)), "big")
        if address != FLASH_BASE:
            raise ValueError

    def _boot(self) -> None:
        self._image.write_bytes(self.flash)
        self._uart, self._qemu = boot(self._image)
        self.booted.set()

    def _be_wire(self) -> None:
        assert self._uart is not None
        threading.Thread(target=self._to_host, args=(self._uart,), daemon=True).start()
        while data := os.read(self._master, 4096):
            self._uart.sendall(data)

    def _to_host(self, uart: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := uart.recv(4096):
                os.write(self._master, data)


def boot(image: Path) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Starts an STM32F405 in QEMU with an image of its flash, no ELF; returns its UART and the process."""
    ours, theirs = socket.socketpair()
    with theirs:
        fd = theirs.fileno()
        process = subprocess.Popen(
            [
                *("qemu-system-arm", "-M", "netduinoplus2", "-kernel", image, "-display", "none", "-monitor", "none"),
                *("-icount", "shift=0,sleep=off,align=off"),
                *("-chardev", f"socket,id=uart,fd={fd}", "-serial", "chardev:uart"),
            ],
            pass_fds=(fd,),
            stdin=subprocess.DEVNULL,
        )
    return ours, process
