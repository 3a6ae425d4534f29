# SPDX-License-Identifier: Apache-2.0
"""What all commands share: exit codes, errors as one line, progress, printing, and what may be written over.

Imports nothing heavy. Is imported before numpy by whoever starts `acsgen`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from acsgen.errors import AcsgenError

# The golden model's matrices are small: with more threads numpy's BLAS mostly waits for itself, many times as
# long when the machine is busy. Must be set before numpy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

#: Exit codes besides 0: something was found wrong by a check; the request itself cannot be carried out.
FOUND_WRONG = 1
CANNOT = 2
#: As a shell reports a program that a signal ended: 128 + SIGINT, 128 + SIGPIPE.
INTERRUPTED = 130
NOBODY_READS = 141


class Commands(TyperGroup):
    """Ends with one line on stderr and an exit code where the user can put something right."""

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()
            return result
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python complains when it flushes at the end
            raise typer.Exit(NOBODY_READS) from None
        except KeyboardInterrupt:
            typer.echo("acsgen: interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except (AcsgenError, OSError) as error:
            if ctx.params["debug"]:
                import traceback

                traceback.print_exception(error)
            typer.echo(f"acsgen: {_one_line(error)}", err=True)
            raise typer.Exit(CANNOT) from None


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return ": ".join(str(part) for part in (error.filename, error.strerror) if part is not None)
    return " ".join(str(error).split("\n"))


def warn(text: str) -> None:
    """One line on stderr."""
    typer.echo(f"acsgen: warning: {text}", err=True)


def end_if_different(result: Any) -> None:
    """Says how firmware and golden model differ, if they do, and ends. result: of `verify` or of the demo."""
    if not result.ok:
        typer.echo(f"acsgen: the firmware differs from the golden model: {result.first_difference}", err=True)
        raise typer.Exit(FOUND_WRONG)


def refuse_existing(out: Path, force: bool, suffix: str = ".acsq") -> None:
    """AcsgenError if a file cannot be written there, before anything is computed for it.

    suffix: of the files that may be replaced.
    """
    if out.is_symlink() or (out.exists() and not out.is_file()):
        raise AcsgenError(f"{out} is a folder, a link or a device, not a file to write: give another name")
    if out.exists() and not force:
        raise AcsgenError(f"{out} exists: give another file, or --force to replace it")
    if out.exists() and out.suffix != suffix:
        raise AcsgenError(f"{out} is not called {suffix}, --force does not replace it: give another name")
    if not out.parent.is_dir():
        raise AcsgenError(f"{out}: there is no folder {out.parent}: make it first")
    if not os.access(out.parent, os.W_OK):
        raise AcsgenError(f"{out}: the folder {out.parent} cannot be written to: give another")


def refuse_foreign(out: Path, own: tuple[str, ...]) -> None:
    """AcsgenError if a folder holds something that does not begin like what will be written into it."""
    if out.is_dir() and not all(path.name.startswith(own) for path in out.iterdir()):
        raise AcsgenError(f"{out} holds other things: give a folder of its own")


@contextmanager
def progress(title: str, total: int | None = None, hidden: bool = False) -> Iterator[Callable[..., None]]:
    """A progress bar on stderr; yields `advance(steps, title=None)`. Without a terminal, new titles as lines."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=hidden or not console.is_terminal) as bar:
        task = bar.add_task(title, total=total)

        def advance(steps: int = 0, title: str | None = None) -> None:
            bar.update(task, advance=steps, description=title)
            if title and not console.is_terminal and not hidden:
                typer.echo(title, err=True)

        yield advance


def print_table(table: Any) -> None:
    """A table as wide as the terminal; for a pipe as wide as it is, unless COLUMNS says otherwise."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=500)
    with console.capture() as captured:
        console.print(table)
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1))


def show_figures(figures: dict[str, Any], title: str, as_json: bool) -> None:
    if as_json:
        print_json(figures)
    else:
        from acsgen.report.tables import figures_table

        print_table(figures_table(title, figures))
