# SPDX-License-Identifier: Apache-2.0
"""What the meter counted: the text that `meter_save` writes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from acsgen.errors import AcsgenError


@dataclass(frozen=True)
class Cost:
    """Sums over runs. core: cycles at zero wait states; fetch, data: cycles that the flash was waited for."""

    instructions: int = 0
    core: int = 0
    fetch: int = 0
    data: int = 0

    @property
    def cycles(self) -> int:
        return self.core + self.fetch + self.data

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.instructions + other.instructions,
            self.core + other.core,
            self.fetch + other.fetch,
            self.data + other.data,
        )


def total(costs: Iterable[Cost]) -> Cost:
    """The sum."""
    return sum(costs, Cost())


@dataclass(frozen=True)
class Counts:
    """runs: how many. cells: cost by (step of the plan, or their number for what lies between them; function).

    places: cost by the address of the instruction.
    """

    runs: int
    cells: dict[tuple[int, int], Cost]
    places: dict[int, Cost]


def read_counts(path: Path) -> Counts:
    """Reads what the meter saved. Raises AcsgenError if it met instructions that its table does not know."""
    try:
        first, *lines = path.read_text(encoding="ascii").splitlines()
    except OSError as error:
        raise AcsgenError(f"nothing was counted: no run of the model was seen ({path}: {error.strerror})") from error
    runs, unknown = map(int, first.split())
    if unknown:
        raise AcsgenError(f"{unknown} instructions were executed outside the firmware's code, their cost is not known")
    rows = [list(map(int, line.split())) for line in lines]
    end = rows.index([])
    cells = {(step, function): Cost(*cost) for step, function, *cost in rows[:end]}
    return Counts(runs, cells, {address: Cost(*cost) for address, *cost in rows[end + 1 :]})
