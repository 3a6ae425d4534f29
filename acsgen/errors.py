# SPDX-License-Identifier: Apache-2.0
"""The error that acsgen raises for everything that the user can put right."""

from __future__ import annotations

from collections.abc import Iterable


class AcsgenError(Exception):
    """Base class; the message says what is wrong and what to do."""


def nearest(word: str, known: Iterable[str]) -> str:
    """For a message about a word that is not known: the known one that is meant, or all of them."""
    from difflib import get_close_matches

    choice = list(known)
    near = get_close_matches(word, choice, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(choice)}"
