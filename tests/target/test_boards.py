# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from acsgen.errors import AcsgenError
from acsgen.resources import resource_dir
from acsgen.target.boards import EmulatorSpec, list_boards, load_board
from acsgen.target.build import build
from acsgen.target.emulator import Emulator
from tests.target.fake_project import fake_input, make_project


def test_every_board_loads() -> None:
    assert {"mps2-an386", "stm32f405"} <= set(list_boards())
    for name in list_boards():
        assert load_board(name).name == name


def test_stm32f405_is_what_the_datasheet_says() -> None:
    board = load_board("stm32f405")
    assert (board.flash.base, board.flash.bytes) == (0x08000000, 1024 * 1024)
    assert (board.ram.base, board.ram.bytes) == (0x20000000, 128 * 1024)
    assert [upload.protocol for upload in board.uploads] == ["stlink", "stlink-openocd", "jlink", "serial"]
    assert board.upload_apt == ("stlink-tools", "stm32flash", "openocd")
    assert (board.core_hertz, board.tick_hertz, board.cycles(21)) == (168_000_000, 84_000_000, 42)


@pytest.mark.parametrize("name", ["stm32f407", "STM32F405", "mps2_an386"])
def test_unknown_board_names_the_nearest(name: str) -> None:
    with pytest.raises(AcsgenError, match=f"no board is called '{name}'; did you mean .*(405|386)"):
        load_board(name)


def test_unknown_board_like_no_other_lists_all() -> None:
    with pytest.raises(AcsgenError, match=r"there are: .*mps2-an386, .*stm32f405"):
        load_board("xyzzy")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("stack_bytes = 4096", "", "stack_bytes is missing"),
        ("stack_bytes = 4096", 'stack_bytes = "4K"', "stack_bytes must be a whole number"),
        (
            "stack_bytes = 4096",
            "stack_bytes = -1",
            "stack_bytes must be a whole number, 256 or more",
        ),
        ("stack_bytes = 4096", "stack_bytes = true", "stack_bytes must be a whole number"),
        ("stack_bytes = 4096", "stack_bytes = 4096\nspeed = 1", "speed is not a key"),
        ("bytes = 0x20000", "size = 0x20000", "ram.bytes is missing"),
        ("prefetch = true", "prefetch = 1", "flash.timing.prefetch must be true or false"),
        ("wait_states = 5", "", "flash.timing.wait_states is missing"),
        ("width_bits = 128", "width_bits = 96", "flash.timing.width_bits must be a power of two"),
        ("_bytes = 1024", "_bytes = 1000", "flash.timing.instruction_cache_bytes must be a multiple of width_bits"),
        ("bytes = 0x20000", "bytes = 0", "ram.bytes must be a whole number, 1 or more"),
        ("[1, 1]", "[1, 0]", "emulator.instructions_per_tick must be a list of 2 positive"),
        ("[1, 1]", "[1]", "emulator.instructions_per_tick must be a list of 2 positive"),
        ('default = "stlink"', 'default = "dfu"', "upload.default is 'dfu'"),
        ('title = "', 'title = "a\\n[env:b]', "title must be printable text on one line"),
        ('apt = ["stlink-tools", "stm32flash", "openocd"]', "", "upload.apt is missing"),
        ('core = "cortex-m4f"', "core = [4]", "core must be a string"),
        ("args = []", "args = [1]", "emulator.args must be a list of strings"),
        ("[ram]", "[ram", "is not a TOML file"),
        ("0x40023800, 0, 1, 2, 2]", "0x40023800, 0, 1, 2]", "clock.steps must be a list of lists of 3 or 5 numbers"),
        ("0x40023800, 0, 1, 2, 2]", "0x140023800, 0, 1]", "clock.steps must be a list of .* from 0 to 0xffffffff"),
        ("0x40023800, 0, 1, 2, 2]", '"RCC_CR", 0, 1]', "clock.steps must be a list of lists of 3 or 5 numbers"),
        ("base = 0x40011000", "", "uart.base is missing"),
        ("[uart]", "[serial]", "uart is missing"),
        ("args = []", 'args = []\ncovers = "all"', "emulator.covers must be one of board, instructions"),
        ('board = "genericSTM32F405RG"', "", "platformio.board is missing"),
    ],
)
def test_wrong_board_file(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (resource_dir("boards") / "stm32f405.toml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(AcsgenError, match=message) as raised:
        load_board(str(path))
    assert str(path) in str(raised.value)


def test_board_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AcsgenError, match=r"cannot read board file .*none\.toml: No such file"):
        load_board(str(tmp_path / "none.toml"))


def test_ticks_become_instructions() -> None:
    spec = EmulatorSpec("qemu", (), "m", (), 7, (40, 128))
    # 128 ns an instruction, 40 ns a tick: whatever the counter's phase, the count is exact.
    for instructions in range(1, 5000):
        exact = instructions * 128
        for ticks in (exact // 40, -(-exact // 40)):
            assert spec.instructions(ticks) == instructions


def test_new_board_is_one_file_and_no_code(tmp_path: Path) -> None:
    """A Cortex-M3, which has no FPU, out of a file beside the project."""
    text = (resource_dir("boards") / "mps2-an386.toml").read_text(encoding="utf-8")
    for old, new in (
        ('"-mcpu=cortex-m4"', '"-mcpu=cortex-m3"'),
        (', "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"', ""),
        ('"mps2-an386"', '"mps2-an385"'),
    ):
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "mps2-an385.toml"
    path.write_text(text, encoding="utf-8")
    board = load_board(str(path))
    result = build(make_project(tmp_path / "project", board))
    with Emulator(board, result.elf) as emulator:
        data = fake_input(5)
        assert emulator.run(data).output.tolist() == data[::-1].tolist()
