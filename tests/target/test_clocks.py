# SPDX-License-Identifier: Apache-2.0
"""The steps that bring up a chip make the clocks that its board claims: read as its reference manual reads them.

Nothing of this runs. The registers are those that the steps leave; the formulas, limits and wait states are the
manuals', at 2.7 V or more and in the highest voltage range.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from acsgen.target.boards import Board, Step, list_boards, load_board

Registers = dict[int, int]


@dataclass(frozen=True)
class Tree:
    """A chip's clocks in Hz. vco: of the PLL's oscillator, which must be within its limits. uart: what it divides.

    waits, needed: wait states of the flash. flash: address of the register that holds them, or None. switch: what the
    step that switches the core to the PLL waits for: address, bits, value.
    """

    core: int
    uart: int
    vco: int
    limits: tuple[int, int]
    waits: int
    needed: int
    flash: int | None
    switch: tuple[int, int, int]


def bits(word: int, low: int, count: int) -> int:
    return word >> low & ((1 << count) - 1)


def divided(code: int, one_of: int) -> int:
    """A bus prescaler: below a limit it divides by 1, from there on by 2, 4, 8, 16 (and on, but for 32)."""
    return 1 if code < one_of else 2 ** (code - one_of + 1)


def needed_at(hertz: int, *most: int) -> int:
    """Wait states: the first whose limit, in MHz, is not passed."""
    return next(states for states, limit in enumerate(most) if hertz <= limit * 1_000_000)


def every(step: int, count: int = 8) -> list[int]:
    return [step * (states + 1) for states in range(count)]


def f0(registers: Registers) -> Tree:
    """RM0091 6.4.2: HSI / 2 * PLLMUL, one APB; 3.5.1: a wait state above 24 MHz."""
    configuration = registers[0x40021004]
    vco = 8_000_000 // 2 * (bits(configuration, 18, 4) + 2)
    core = vco // divided(bits(configuration, 4, 4), 8)
    apb = core // divided(bits(configuration, 8, 3), 4)
    waits = bits(registers[0x40022000], 0, 3)
    return Tree(
        core, apb, vco, (16_000_000, 48_000_000), waits, needed_at(core, 24, 48), 0x40022000, (0x40021004, 0xC, 8)
    )


def f1(registers: Registers) -> Tree:
    """RM0008 7.3.2: HSI / 2 * PLLMUL, APB1 up to 36 MHz, USART1 on APB2; 3.3.3: wait states above 24 and 48 MHz."""
    configuration = registers[0x40021004]
    vco = 8_000_000 // 2 * (bits(configuration, 18, 4) + 2)
    core = vco // divided(bits(configuration, 4, 4), 8)
    assert core // divided(bits(configuration, 8, 3), 4) <= 36_000_000
    apb2 = core // divided(bits(configuration, 11, 3), 4)
    waits = bits(registers[0x40022000], 0, 3)
    return Tree(
        core, apb2, vco, (16_000_000, 72_000_000), waits, needed_at(core, 24, 48, 72), 0x40022000, (0x40021004, 0xC, 8)
    )


def f4(
    apb1: int, uart: int, waits: list[int], vco: tuple[int, int] = (100_000_000, 432_000_000)
) -> Callable[[Registers], Tree]:
    """RM0090 7.3.2 and 3.5.1, and likewise RM0383, RM0390, RM0385 and RM0410: HSI / M * N / P.

    apb1: its most MHz, half of APB2's. uart: the APB that it is on. waits: limits in MHz.
    """

    def tree(registers: Registers) -> Tree:
        pll, configuration = registers[0x40023804], registers[0x40023808]
        into = 16_000_000 // bits(pll, 0, 6)
        assert 1_000_000 <= into <= 2_000_000 and not bits(pll, 22, 1)
        oscillator = into * bits(pll, 6, 9)
        assert oscillator // bits(pll, 24, 4) <= 75_000_000 and bits(pll, 24, 4) >= 2
        core = oscillator // (2 * (bits(pll, 16, 2) + 1)) // divided(bits(configuration, 4, 4), 8)
        buses = [core // divided(bits(configuration, low, 3), 4) for low in (10, 13)]
        assert buses[0] <= apb1 * 1_000_000 and buses[1] <= 2 * apb1 * 1_000_000
        latency = bits(registers[0x40023C00], 0, 4)
        return Tree(
            core, buses[uart - 1], oscillator, vco, latency, needed_at(core, *waits), 0x40023C00, (0x40023808, 0xC, 8)
        )

    return tree


def l4(waits: list[int], most: int, uart: int | None) -> Callable[[Registers], Tree]:
    """RM0351 and RM0432, 6.4: HSI16 / M * N / R, buses undivided. uart: its clock, if it is none of the core's."""

    def tree(registers: Registers) -> Tree:
        pll, configuration = registers[0x4002100C], registers[0x40021008]
        assert (bits(pll, 0, 2), bits(pll, 24, 1)) == (2, 1), "HSI16, and the output R is on"
        oscillator = 16_000_000 // (bits(pll, 4, 3) + 1) * bits(pll, 8, 7)
        core = oscillator // (2 * (bits(pll, 25, 2) + 1)) // divided(bits(configuration, 4, 4), 8)
        apb1 = core // divided(bits(configuration, 8, 3), 4)
        latency = bits(registers[0x40022000], 0, 4)
        limits = (64_000_000, most)
        return Tree(
            core, uart or apb1, oscillator, limits, latency, needed_at(core, *waits), 0x40022000, (0x40021008, 0xC, 0xC)
        )

    return tree


def h7(registers: Registers) -> Tree:
    """RM0433 8.7 and 4.3.8: HSI / M * N / P, core at the clock, AXI and AHB at half, APB1 up to 100 MHz."""
    into = 64_000_000 // bits(registers[0x58024428], 4, 6)
    range_of_input, wide = bits(registers[0x5802442C], 2, 2), not bits(registers[0x5802442C], 1, 1)
    assert range_of_input == 2 and 4_000_000 <= into <= 8_000_000 and wide and bits(registers[0x5802442C], 16, 1)
    oscillator = into * (bits(registers[0x58024430], 0, 9) + 1)
    core = oscillator // (bits(registers[0x58024430], 9, 7) + 1) // divided(bits(registers[0x58024418], 8, 4), 8)
    axi = core // divided(bits(registers[0x58024418], 0, 4), 8)
    apbs = [
        axi // divided(bits(registers[address], low, 3), 4)
        for address, low in ((0x5802441C, 4), (0x5802441C, 8), (0x58024418, 4), (0x58024420, 4))
    ]
    assert axi <= 200_000_000 and max(apbs) <= 100_000_000
    access = registers[0x52002000]
    assert bits(access, 4, 2) == 2, "WRHIGHFREQ, for 185 to 210 MHz"
    limits = (192_000_000, 836_000_000)
    return Tree(
        core,
        apbs[0],
        oscillator,
        limits,
        bits(access, 0, 4),
        needed_at(axi, 70, 140, 210),
        0x52002000,
        (0x58024410, 0x38, 0x18),
    )


def u5(registers: Registers) -> Tree:
    """RM0456 11.8 and 7.3.3: MSIS / M * N / R with the booster on, buses undivided as after a reset."""
    configuration, dividers = registers[0x46020C28], registers[0x46020C34]
    assert (bits(configuration, 0, 2), bits(configuration, 18, 1), bits(configuration, 4, 1)) == (1, 1, 0)
    into = 4_000_000 // (bits(configuration, 8, 4) + 1)
    assert into == 4_000_000 and bits(configuration, 2, 2) < 3 and bits(configuration, 12, 4) == 0
    oscillator = into * (bits(dividers, 0, 9) + 1)
    core = oscillator // (bits(dividers, 24, 7) + 1)
    waits = bits(registers[0x40022000], 0, 4)
    limits = (128_000_000, 544_000_000)
    return Tree(core, core, oscillator, limits, waits, needed_at(core, *every(32)), 0x40022000, (0x46020C1C, 0xC, 0xC))


def rp2040(registers: Registers) -> Tree:
    """RP2040 datasheet 2.18.2: crystal / REFDIV * FBDIV / POSTDIV1 / POSTDIV2; its flash has no wait states."""
    oscillator = 12_000_000 // max(1, bits(registers[0x40028000], 0, 6)) * bits(registers[0x40028008], 0, 12)
    divider = bits(registers[0x4002800C], 16, 3) * bits(registers[0x4002800C], 12, 3)
    core = oscillator // divider
    return Tree(core, core, oscillator, (750_000_000, 1_600_000_000), 0, 0, None, (0x40008044, 2, 2))


TREES: dict[str, Callable[[Registers], Tree]] = {
    "bluepill-f103c8": f1,
    "nucleo-f072rb": f0,
    "nucleo-f411re": f4(50, 1, [30, 64, 90, 100]),
    "nucleo-f446re": f4(45, 1, every(30)),
    "nucleo-f746zg": f4(54, 1, every(30)),
    "nucleo-f767zi": f4(54, 1, every(30)),
    "nucleo-h743zi": h7,
    "nucleo-l476rg": l4([16, 32, 48, 64, 80], 344_000_000, None),
    "nucleo-l4r5zi": l4([20, 40, 60, 80, 100, 120], 344_000_000, 256 * 16_000_000),
    "nucleo-u575zi-q": u5,
    "pico": rp2040,
    "stm32f405": f4(42, 2, every(30)),
}


def left(steps: tuple[Step, ...]) -> Registers:
    """What the steps leave in registers that were 0."""
    registers: Registers = {}
    for step in steps:
        registers[step.address] = registers.get(step.address, 0) & ~step.clear | step.set
    return registers


@pytest.fixture(params=TREES)
def board(request: pytest.FixtureRequest) -> Board:
    return load_board(request.param)


def test_every_board_with_steps_is_here() -> None:
    assert set(TREES) == {name for name in list_boards() if load_board(name).setup}


def test_clocks(board: Board) -> None:
    assert board.setup is not None
    tree = TREES[board.name](left(board.setup.core.steps))
    assert (tree.core, tree.uart) == (board.setup.core.hertz, board.setup.uart.hertz)
    assert tree.limits[0] <= tree.vco <= tree.limits[1]
    if "systick" in board.ports:
        assert board.tick_hertz == tree.core


def test_the_flash_keeps_pace(board: Board) -> None:
    """Its wait states are right, and waited for before the core is fast; after that nothing can fail."""
    assert board.setup is not None
    steps = board.setup.core.steps
    tree = TREES[board.name](left(steps))
    assert tree.waits == tree.needed
    if board.flash_timing is not None:
        assert (board.flash_timing.wait_states, board.flash_timing.hertz) == (tree.waits, tree.core)
    switch = next(i for i, step in enumerate(steps) if (step.address, step.mask, step.value) == tree.switch)
    if tree.flash is not None:
        (access,) = [i for i, step in enumerate(steps) if step.address == tree.flash]
        assert access < switch and steps[access].mask & 7 == 7 and steps[access].value == tree.waits
    assert not [
        step for step in steps[switch + 1 :] if step.mask and (step.address, step.mask, step.value) != tree.switch
    ]


def test_a_boot_loader_may_have_been_here(board: Board) -> None:
    """Where a chip can be flashed by its ROM loader, which may run on the PLL: off that, then the PLL off, then on."""
    assert board.setup is not None
    if "serial" not in [upload.protocol for upload in board.uploads]:
        return
    steps = board.setup.core.steps
    address, mask, value = TREES[board.name](left(steps)).switch
    away = next(
        i for i, step in enumerate(steps) if (step.address, step.mask) == (address, mask) and step.value != value
    )
    ready = 1 << 25  # PLLRDY and PLLON have the same bits of RCC_CR in every family
    off = next(i for i, step in enumerate(steps) if (step.clear, step.mask, step.value) == (ready >> 1, ready, 0))
    on = next(i for i, step in enumerate(steps) if (step.set, step.mask, step.value) == (ready >> 1, ready, ready))
    assert away < off < on and steps[off].address == steps[on].address


def test_the_divisor_is_right(board: Board) -> None:
    """At both clocks a bit is as long as it should be, to 2.2 percent after a reset and 0.5 at full speed."""
    assert board.setup is not None
    uart = board.setup.uart
    for hertz, most in ((uart.hertz_at_reset, 0.022), (uart.hertz, 0.005)):
        if "pl011" in board.ports:
            real = hertz / (16 * (round(64 * hertz / 16 / 115200) / 64))
        else:
            real = hertz / round(hertz / 115200)
        assert abs(real / 115200 - 1) < most
