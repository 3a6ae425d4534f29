# SPDX-License-Identifier: Apache-2.0
"""Firmware on a board, at the other end of a serial port."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from acsgen.errors import AcsgenError
from acsgen.target.boards import Board
from acsgen.target.link import LinkClient, LinkError
from acsgen.target.running import Running
from acsgen.target.stream import BAUD, SerialStream

#: A wire loses or damages a byte now and then; more than this in a row is something else.
TRIES = 6
#: Seconds that the first run may take, and what later ones may take beyond three times the longest yet.
_FIRST_RUN, _SLACK = 20.0, 1.0


class Device(Running):
    """A board at a serial port, with firmware in it that waits for inputs.

    .. code-block:: python

        with Device(load_board("stm32f405"), "/dev/ttyACM0") as device:
            run = device.run(image, RunMode.SKIP)
    """

    def __init__(self, board: Board, port: str, *, baud: int = BAUD, start_timeout: float = 10.0) -> None:
        """port: as ``SerialStream`` takes it. ``start_timeout`` is in seconds: how long a board may take to boot."""
        super().__init__(board.cycles, counts_instructions=False)
        self._port = port
        self._baud = baud
        self._start_timeout = start_timeout

    def __enter__(self) -> Self:
        self._stream = SerialStream(self._port, self._baud)
        self.link = LinkClient(self._stream, tries=TRIES)
        try:
            self.info = self.link.connect(self._start_timeout)
        except LinkError as error:
            self._stream.close()
            raise AcsgenError(
                f"no firmware of acsgen's answers on {self._port} ({error}): "
                f"is the board flashed (acsgen flash), reset, and its UART connected, at {self._baud} baud?"
            ) from error
        except BaseException:
            self._stream.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stream.close()

    def _patience(self) -> float:
        """Follows from how long the runs before took."""
        return _FIRST_RUN if self._longest is None else 3 * self._longest + _SLACK
