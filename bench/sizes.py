# SPDX-License-Identifier: Apache-2.0
"""What a model takes of flash and RAM in a built firmware, without the application, port and C library around it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from acsgen.errors import AcsgenError
from acsgen.profile.image import read_image

#: A line of the linker's map, or two: section, address, size, and an archive of the project's `lib/`.
_CONTRIBUTION = re.compile(
    r"^ (\.[\w.$]+)\s+0x[0-9a-f]+\s+0x([0-9a-f]+) \.pio/\S*/lib[0-9a-f]*/lib\w+\.a\(", re.MULTILINE
)
_KINDS = {"text": ("text", "literal"), "rodata": ("rodata", "srodata"), "static": ("data", "bss", "sdata", "sbss")}


@dataclass(frozen=True)
class Sizes:
    """Bytes. text: code of the model and its kernels; rodata: their constants, weights above all; ram: arena, input,
    output and variables, without the stack."""

    text: int
    rodata: int
    ram: int


def model_sizes(elf: Path) -> Sizes:
    """Reads the linker's map beside an ELF. Raises AcsgenError if it is not there."""
    path = elf.with_suffix(".map")
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise AcsgenError(f"{path}: cannot be read ({error.strerror}): build the project again") from error
    sums = {kind: sum(size for section, size in _contributions(text) if section in _KINDS[kind]) for kind in _KINDS}
    image = read_image(elf)
    buffers = sum(image.symbol(name).size for name in ("arena", "input", "output"))
    return Sizes(sums["text"], sums["rodata"], buffers + sums["static"])


def _contributions(map_text: str) -> Iterator[tuple[str, int]]:
    """Kind of section and bytes of everything that the project's libraries brought in."""
    _, found, linked = map_text.partition("Linker script and memory map")
    assert found, "a map of GNU ld"
    for section, size in _CONTRIBUTION.findall(linked):
        yield section.split(".")[1], int(size, 16)
