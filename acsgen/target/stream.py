# SPDX-License-Identifier: Apache-2.0
"""Bytes to and from the firmware: a socket of an emulator, or whatever pyserial can open."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self

from acsgen.errors import AcsgenError

BAUD = 115200


class LinkError(AcsgenError):
    """The firmware gave no answer, a damaged one, or a refusal; the next try may succeed."""


class ByteStream(Protocol):
    """Bytes to and from the firmware.

    Both methods raise ``LinkError`` when the time is over, and ``AcsgenError`` when the other side
    is gone.
    """

    def read(self, size: int, timeout: float) -> bytes:
        """Returns 1 to ``size`` bytes, waiting at most ``timeout`` seconds for the first."""
        ...

    def write(self, data: bytes, timeout: float) -> None:
        """Writes everything within ``timeout`` seconds."""
        ...


class SocketStream:
    """A connected socket as ``ByteStream``."""

    def __init__(self, connection: socket.socket, explain_end: Callable[[], str]) -> None:
        """``explain_end`` returns the message for the case that the other side is gone."""
        self._connection = connection
        self._explain_end = explain_end

    def read(self, size: int, timeout: float) -> bytes:
        self._connection.settimeout(max(timeout, 1e-3))
        try:
            data = self._connection.recv(size)
        except TimeoutError:
            raise LinkError("the firmware does not answer") from None
        except OSError:
            data = b""
        if not data:
            raise AcsgenError(self._explain_end())
        return data

    def write(self, data: bytes, timeout: float) -> None:
        self._connection.settimeout(max(timeout, 1e-3))
        try:
            self._connection.sendall(data)
        except TimeoutError:
            raise LinkError("the firmware does not read what it is sent") from None
        except OSError:
            raise AcsgenError(self._explain_end()) from None


class SerialStream:
    """A serial port as ``ByteStream``, of any kind that pyserial knows.

    A name (``/dev/ttyACM0``, ``COM3``), or a URL: ``socket://host:port``, ``rfc2217://host:port``, ``loop://``.
    8 data bits, no parity, 1 stop bit.
    """

    def __init__(self, port: str, baud: int = BAUD) -> None:
        """Opens the port. Raises AcsgenError, with the ports that there are, if it cannot be opened."""
        import serial

        self._name = port
        self._port: Any
        try:
            self._port = serial.serial_for_url(port, baudrate=baud, exclusive=_exclusive(port))
            self._port.reset_input_buffer()
        except (serial.SerialException, OSError, ValueError) as error:
            raise AcsgenError(f"cannot open port {port} ({_reason(error)}); {ports_text()}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._port.close()

    def read(self, size: int, timeout: float) -> bytes:
        from serial import SerialException

        try:
            # One byte with patience, then what has come with it: pyserial waits for all that it is asked for.
            self._port.timeout = max(timeout, 1e-3)
            first: bytes = self._port.read(1)
            if not first:
                raise LinkError(f"nothing answers on {self._name}")
            self._port.timeout = 0
            rest: bytes = self._port.read(size - 1) if size > 1 else b""
            return first + rest
        except (SerialException, OSError) as error:
            raise self._gone(error) from error

    def write(self, data: bytes, timeout: float) -> None:
        from serial import SerialException, SerialTimeoutException

        try:
            self._port.write_timeout = max(timeout, 1e-3)
            self._port.write(data)
        except SerialTimeoutException:
            raise LinkError(f"{self._name} takes no more bytes") from None
        except (SerialException, OSError) as error:
            raise self._gone(error) from error

    def _gone(self, error: Exception) -> AcsgenError:
        return AcsgenError(f"port {self._name} is gone ({_reason(error)}); is the board still connected?")


def ports_text() -> str:
    """Says which serial ports there are, for messages."""
    from serial.tools.list_ports import comports

    names = [port.device for port in comports()]
    return f"there are: {', '.join(names)}" if names else "there is no serial port: connect the board"


def _exclusive(port: str) -> bool | None:
    """Devices are opened for one program alone where that is possible: two would share out the bytes."""
    return True if "://" not in port and os.name == "posix" else None


#: How systems say that a port, or the lock on it, is another program's.
_IN_USE = (errno.EAGAIN, errno.EBUSY)


def _reason(error: Exception) -> str:
    """What is wrong, without the name of the port, which pyserial puts before the system's words."""
    for cause in (error, error.__context__):
        # Not OSError alone: termios.error, of a file that is no serial port, is none. Resolvers count below 0.
        number, words = cause.args if cause is not None and len(cause.args) == 2 else (None, "")
        if number in _IN_USE:
            return "another program uses it"
        if isinstance(number, int):
            return (os.strerror(number) if number > 0 else str(words)).lower()
    return " ".join(str(error).split())
