# SPDX-License-Identifier: Apache-2.0
"""What commands of different modules take alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acsgen.errors import AcsgenError

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
# readable=False: not checked by typer, the stages say in one line what cannot be read.
Project = Annotated[Path, typer.Argument(help="Folder that 'acsgen generate' made.", metavar="PROJECT", readable=False)]
On = Annotated[
    str | None,
    typer.Option("--on", help="Serial port of a board with the firmware (default: the emulator).", metavar="PORT"),
]
DATA = typer.Option(
    "--data",
    help="Samples: an .npz with x (N, ...), optionally y (N,) and scale.",
    metavar="FILE",
    readable=False,
)
Data = Annotated[Path, DATA]


def pairs(option: str, texts: list[str], form: str) -> dict[str, str]:
    """What an option that is given several times as NAME=VALUE says; AcsgenError for another form."""
    split = [text.partition("=") for text in texts]
    for text, (name, _, value) in zip(texts, split, strict=True):
        if not name or not value:
            raise AcsgenError(f"{option} {text}: give {form}")
    return {name: value for name, _, value in split}
