# SPDX-License-Identifier: Apache-2.0
"""What boards say of their chips, against the modm project's device data, which are made from the vendors' files."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import modm_devices
import pytest
from modm_devices.parser import DeviceParser

from acsgen.target.boards import Board, Step, list_boards, load_board

DATA = Path(modm_devices.__file__).parent / "resources" / "devices"

#: The chip on each board: file of the data, name of the device there.
CHIPS = {
    "bluepill-f103c8": ("stm32/stm32f1-01_02_03-8_b.xml", "stm32f103c8t6"),
    "microbit": ("nrf/nrf51422_801_802_822_824.xml", "nrf51822-xxaa"),
    "nucleo-f072rb": ("stm32/stm32f0-71_72_78.xml", "stm32f072rbt6"),
    "nucleo-f411re": ("stm32/stm32f4-01_11.xml", "stm32f411ret6"),
    "nucleo-f446re": ("stm32/stm32f4-46.xml", "stm32f446ret6"),
    "nucleo-f746zg": ("stm32/stm32f7-45_46_50_56.xml", "stm32f746zgt6"),
    "nucleo-f767zi": ("stm32/stm32f7-67_68_77_78.xml", "stm32f767zit6"),
    "nucleo-h743zi": ("stm32/stm32h7-42_43_50_53.xml", "stm32h743zit6"),
    "nucleo-l476rg": ("stm32/stm32l4-76_86.xml", "stm32l476rgt6"),
    "nucleo-l4r5zi": ("stm32/stm32l4-r5_r7_r9.xml", "stm32l4r5zit6"),
    "nucleo-u575zi-q": ("stm32/stm32u5-75_85.xml", "stm32u575zit6q"),
    "pico": ("rp/rp2040.xml", "rp2040"),
    "stm32f405": ("stm32/stm32f4-05_07_15_17.xml", "stm32f405rgt6"),
}

#: SRAM2 of an L4R5 also lies between SRAM1 and SRAM3 (RM0432, 2.2.2).
SEEN_TWICE = {"stm32l4r5zit6": [(0x20030000, 0x10000)]}

#: Where GPIOA lies, and by which step the next ports follow, by the family's reference manual.
GPIO_A = {"f0": 0x48000000, "f4": 0x40020000, "f7": 0x40020000, "l4": 0x48000000, "h7": 0x58020000, "u5": 0x42020000}
GPIO_STEP = 0x400
#: Registers of a port.
MODER, PULL, FUNCTION_LOW, FUNCTION_HIGH = 0x00, 0x0C, 0x20, 0x24
ALTERNATE, PULL_UP = 2, 1

#: Which UART it is that lies at a base address, by the families' reference manuals.
UARTS = {
    0x40011000: ("usart", "1"),  # F4
    0x40013800: ("usart", "1"),
    0x40004400: ("usart", "2"),
    0x40004800: ("usart", "3"),
    0x40008000: ("lpuart", "1"),
}


@cache
def chip(name: str) -> Any:
    file, wanted = CHIPS[name]
    devices = DeviceParser().parse(str(DATA / file)).get_devices()
    return next(device for device in devices if device.identifier.string == wanted)


@pytest.fixture(params=CHIPS)
def board(request: pytest.FixtureRequest) -> Board:
    return load_board(request.param)


def test_every_chip_is_here() -> None:
    """All but the boards that need a framework and those that exist in an emulator only."""
    boards = [load_board(name) for name in list_boards()]
    assert set(CHIPS) == {board.name for board in boards if board.is_bare and board.uploads}


def contiguous(device: Any, base: int) -> int:
    """Bytes of the memories that lie one behind the other from there on."""
    memories = [(int(each["start"], 16), int(each["size"])) for each in device.get_driver("core")["memory"]]
    memories += SEEN_TWICE.get(device.identifier.string, [])
    end = base
    while size := next((size for start, size in memories if start == end), 0):
        end += size
    return end - base


def test_memories(board: Board) -> None:
    device = chip(board.name)
    assert board.ram.bytes == contiguous(device, board.ram.base)
    if board.name != "pico":  # whose flash is another chip
        assert board.flash.bytes == contiguous(device, board.flash.base)


def test_core_and_interrupts(board: Board) -> None:
    core = chip(board.name).get_driver("core")
    units = [flag.removeprefix("-mfpu=") for flag in board.cpu_flags if flag.startswith("-mfpu=")]
    assert (board.core.removesuffix("f"), units) == (core["type"], [core["fpu"]] if "fpu" in core else [])
    names = {int(vector["position"]): vector["name"] for vector in core["vector"]}
    used = [position for position, name in names.items() if not name.startswith("SPARE")]
    count = next(int(define.split("=")[1]) for define in board.defines if define.startswith("PORT_IRQ_COUNT="))
    # An nRF51's controller has 32 of which 26 are used.
    assert count == (32 if board.name == "microbit" else max(used) + 1)


def pins(board: Board) -> dict[str, tuple[str, int]]:
    """TX and RX as the board tells people: port, number."""
    assert board.setup is not None
    found = re.findall(r"P([A-Z])(\d+) \((TX|RX)\)", board.setup.uart_pins)
    return {signal.lower(): (port.lower(), int(number)) for port, number, signal in found}


def field(steps: tuple[Step, ...], address: int, shift: int, bits: int) -> int:
    """What the steps leave in bits of a register; all of the field is cleared first."""
    (step,) = [step for step in steps if step.address == address]
    mask = ((1 << bits) - 1) << shift
    assert step.clear & mask == mask, "an earlier value may be left"
    return (step.set & mask) >> shift


@pytest.mark.parametrize("name", [name for name in CHIPS if name[:5] in ("stm32", "nucle")])
def test_pins_are_those_of_the_uart(name: str) -> None:
    """Mode and function of both, by what the signal is called."""
    board, device = load_board(name), chip(name)
    assert board.setup is not None
    steps, uart = board.setup.uart.steps, UARTS[board.setup.uart_base]
    assert pins(board).keys() == {"tx", "rx"}
    for signal, (port, number) in pins(board).items():
        at = GPIO_A[device.identifier["family"]] + GPIO_STEP * (ord(port) - ord("a"))
        (pin,) = [
            each for each in device.get_driver("gpio")["gpio"] if (each["port"], each["pin"]) == (port, str(number))
        ]
        (function,) = [
            int(each["af"])
            for each in pin["signal"]
            if (each["driver"], each.get("instance"), each["name"]) == (*uart, signal)
        ]
        register = at + (FUNCTION_LOW if number < 8 else FUNCTION_HIGH)
        assert field(steps, register, 4 * (number % 8), 4) == function
        assert field(steps, at + MODER, 2 * number, 2) == ALTERNATE
        assert field(steps, at + PULL, 2 * number, 2) == PULL_UP


def test_the_blue_pill_needs_no_remapping() -> None:
    """Its pins have no functions, but maps of all a peripheral's pins; after a reset the first is in use."""
    board = load_board("bluepill-f103c8")
    assert board.setup is not None
    uart = UARTS[board.setup.uart_base]
    (remap,) = [
        each for each in chip(board.name).get_driver("gpio")["remap"] if (each["driver"], each.get("instance")) == uart
    ]
    (group,) = [each for each in remap["group"] if each["id"] == "0"]
    assert pins(board) == {each["name"]: (each["port"], int(each["pin"])) for each in group["signal"]}


def test_sources_of_the_picos_clocks() -> None:
    """RP2040: the reference on the crystal, the core first on that, then on PLL_SYS, the peripherals on the core."""
    board = load_board("pico")
    assert board.setup is not None
    clocks = {each["name"]: each["source"] for each in chip("pico").get_driver("clocks")["clock"]}

    def number(clock: str, source: str, kind: str) -> int:
        return next(int(each[kind]) for each in clocks[clock] if each["name"] == source)

    reference, system, peripherals = 0x40008030, 0x4000803C, 0x40008048  # CLK_REF_CTRL, CLK_SYS_CTRL, CLK_PERI_CTRL
    core = [step for step in board.setup.core.steps if step.address in (reference, system)]
    # Bits 0 and 1 of each are the glitchless source (SRC), bits 5 to 7 the other (AUXSRC).
    assert [(step.address, step.clear & 0xE3, step.set) for step in core] == [
        (system, 1, number("sys", "ref", "src")),
        (reference, 3, number("ref", "xosc", "src")),
        (system, 0xE0, number("sys", "pll_sys", "aux") << 5),
        (system, 0, number("sys", "pll_sys", "src")),
    ]
    (step,) = [step for step in board.setup.uart.steps if step.address == peripherals]
    assert (step.clear, step.set & 0xE0) == (0xE0, number("peri", "sys", "aux") << 5)
