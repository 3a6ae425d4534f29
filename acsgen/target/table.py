# SPDX-License-Identifier: Apache-2.0
"""TOML tables whose values are taken out by name and type."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from acsgen.errors import AcsgenError

_T = TypeVar("_T")

_TOML_NAMES: dict[type[Any], str] = {
    str: "string",
    int: "whole number",
    bool: "true or false",
    list: "list",
    dict: "table",
}


class Table:
    """A TOML table whose values are taken out by name and type; what is left over is an error."""

    def __init__(self, path: Path, place: str, values: Mapping[str, Any]) -> None:
        self._path = path
        self._place = place
        self._values = dict(values)

    def text(self, key: str) -> str:
        value = self._take(key, str)
        if not value.isprintable():
            raise self.error(key, "must be printable text on one line")
        return value

    def number(self, key: str, *, least: int = 0) -> int:
        value = self._take(key, int)
        if isinstance(value, bool) or value < least:
            raise self.error(key, f"must be a whole number, {least} or more")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        values = self._take(key, list)
        if not all(isinstance(value, str) for value in values):
            raise self.error(key, "must be a list of strings")
        return tuple(values)

    def numbers(self, key: str, count: int) -> tuple[int, ...]:
        values = self._take(key, list)
        if len(values) != count or not all(type(value) is int and value > 0 for value in values):
            raise self.error(key, f"must be a list of {count} positive whole numbers")
        return tuple(values)

    def rows(self, key: str, counts: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        rows = self._take(key, list)
        for row in rows:
            if not isinstance(row, list) or len(row) not in counts or not all(_is_word(value) for value in row):
                wanted = " or ".join(map(str, counts))
                raise self.error(key, f"must be a list of lists of {wanted} numbers from 0 to 0xffffffff")
        return tuple(map(tuple, rows))

    def table(self, key: str) -> Table:
        return Table(self._path, f"{self._place}{key}.", self._take(key, dict))

    def flag(self, key: str) -> bool:
        return self._take(key, bool)

    def has(self, key: str) -> bool:
        return key in self._values

    def rest(self) -> list[str]:
        """Returns the keys that have not been taken."""
        return list(self._values)

    def end(self) -> None:
        """Raises if a key is left that nobody has taken."""
        for key in self._values:
            raise self.error(key, "is not a key that boards have")

    def error(self, key: str, problem: str) -> AcsgenError:
        return AcsgenError(f"{self._path}: {self._place}{key} {problem}")

    def _take(self, key: str, kind: type[_T]) -> _T:
        if key not in self._values:
            raise self.error(key, "is missing")
        value = self._values.pop(key)
        if not isinstance(value, kind):
            raise self.error(key, f"must be {'' if kind is bool else 'a '}{_TOML_NAMES[kind]}")
        return value


def _is_word(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**32
