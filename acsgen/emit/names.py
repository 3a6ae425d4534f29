# SPDX-License-Identifier: Apache-2.0
"""C identifiers for models, layers and buffers."""

from __future__ import annotations

import re

from acsgen.errors import AcsgenError

#: What a generated identifier may not be: C11 and C++ keywords, and names of the generated code itself.
_RESERVED = frozenset(
    """alignas alignof and asm auto bool break case catch char class const constexpr continue default delete do
    double else enum explicit export extern false float for friend goto if inline int long mutable namespace new
    not nullptr operator or private protected public register restrict return short signed sizeof static struct
    switch template this throw true try typedef typeid typename union unsigned using virtual void volatile while
    xor main arena input output mode observer at bits""".split()
)


def identifier(name: str) -> str:
    """A C identifier that resembles `name`: `block1/conv:0` becomes `block1_conv_0`."""
    words = re.sub(r"[^0-9a-zA-Z]+", "_", name).strip("_").lower() or "x"
    if words[0].isdigit() or words in _RESERVED:
        words = f"l_{words}"
    return words


def model_identifier(name: str) -> str:
    """The prefix of everything public that a model defines."""
    result = identifier(name)
    if result.startswith(("acs_", "arm_")):
        raise AcsgenError(f"model name '{name}': the prefixes acs_ and arm_ belong to the runtime and CMSIS-NN")
    return result


class Names:
    """Hands out identifiers so that no two things in one file get the same."""

    def __init__(self) -> None:
        self._given: dict[str, str] = {}

    def of(self, name: str) -> str:
        """The identifier of `name`; the same again for the same name."""
        if name not in self._given:
            base = candidate = identifier(name)
            count = 1
            while candidate in self._given.values():
                count += 1
                candidate = f"{base}_{count}"
            self._given[name] = candidate
        return self._given[name]
