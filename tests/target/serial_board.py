# SPDX-License-Identifier: Apache-2.0
"""A board at a serial port: QEMU, which can show its machine's UART as a device or on a socket."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from acsgen.target.boards import Board

Kind = Literal["device", "socket"]


@contextmanager
def serial_board(board: Board, elf: Path, kind: Kind = "device") -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Powers a board up; yields its port and the emulator's process."""
    spec = board.emulator
    assert spec is not None
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = free.getsockname()[1]
    serial = "pty" if kind == "device" else f"tcp:127.0.0.1:{number},server=on,wait=on"
    command = [
        *(spec.program, "-M", spec.machine, "-kernel", str(elf), *spec.args, "-display", "none", "-monitor", "none"),
        *("-icount", f"shift={spec.icount_shift},sleep=off,align=off", "-serial", serial),
    ]
    # What it says on which port it is goes to its output for a device, to its errors for a socket.
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            found = re.search(r"(/dev/\S+) \(label|waiting for connection", said)
            assert found, said
            yield found[1] or f"socket://127.0.0.1:{number}", process
        finally:
            process.kill()
