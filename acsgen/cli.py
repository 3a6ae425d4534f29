# SPDX-License-Identifier: Apache-2.0
"""The command line: each command parses, calls one stage, and prints.

    quantize -> generate -> build -> verify

Stages are imported inside the commands: `acsgen --help` imports nothing heavy.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from acsgen import __version__
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


class _Commands(TyperGroup):
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


app = typer.Typer(
    name="acsgen",
    help="Trained ACS networks to int8 C firmware that skips channels at run time.\n\n"
    "The way: quantize a checkpoint, generate a project for a board, build it, verify it in the emulator. "
    "'acsgen demo' goes it once with the model that acsgen ships.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
# readable=False: not checked by typer, the stages say in one line what cannot be read.
Data = Annotated[
    Path,
    typer.Option(
        "--data",
        help="Samples: an .npz with x (N, ...), optionally y (N,) and scale.",
        metavar="FILE",
        readable=False,
    ),
]
Project = Annotated[Path, typer.Argument(help="Folder that 'acsgen generate' made.", metavar="PROJECT", readable=False)]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"acsgen {__version__}")
        raise typer.Exit


@app.callback(cls=_Commands)
def _main(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Options of every command; _Commands reads `debug`."""


@app.command()
def quantize(
    checkpoint: Annotated[Path, typer.Argument(help="A .keras checkpoint.", metavar="CHECKPOINT", readable=False)],
    data: Data,
    out: Annotated[
        Path, typer.Option("-o", "--output", help="The int8 graph to write.", metavar="FILE", readable=False)
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace OUTPUT if it exists.")] = False,
    as_json: Json = False,
) -> None:
    """Turn a checkpoint into an int8 graph.

    Example: acsgen quantize net.keras --data calibration.npz -o model.acsq
    """
    from acsgen import quantize as stage
    from acsgen.frontend.keras import load_keras
    from acsgen.quantize.acsq import save_acsq
    from acsgen.quantize.calibrate import FEW_SAMPLES
    from acsgen.samples import check_samples, read_samples

    _refuse_existing(out, force)
    samples = read_samples(data)  # first: what reads a checkpoint takes seconds to import
    with _progress("Reading the checkpoint"):
        graph = load_keras(checkpoint)
    check_samples(samples, graph, data)
    if len(samples.x) < FEW_SAMPLES:
        count = f"{len(samples.x)} calibration sample{'s' * (len(samples.x) != 1)}"
        typer.echo(f"acsgen: warning: {count}: ranges may be too narrow, {FEW_SAMPLES} or more are better", err=True)
    with _progress("Calibrating", total=len(samples.x)) as advance:
        quantized = stage.quantize(graph, samples.x, advance)
    save_acsq(quantized, out)
    if as_json:
        _print_json({"output": str(out), "macs": quantized.macs(), "gates": len(quantized.gates)})
    else:
        from acsgen.report.tables import graph_table

        _print(graph_table(quantized))


@app.command()
def generate(
    model: Annotated[Path, typer.Argument(help="An int8 graph.", metavar="MODEL.acsq", readable=False)],
    board: Annotated[str, typer.Option("--board", help="A board's name (see 'acsgen boards').", metavar="BOARD")],
    out: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.", metavar="PROJECT", readable=False)],
    name: Annotated[str | None, typer.Option("--name", help="C name of the model (default: its own).")] = None,
    kernels: Annotated[str | None, typer.Option("--kernels", help="Kernel set (default: the board's first).")] = None,
    cmsis_nn: Annotated[
        Path | None,
        typer.Option("--cmsis-nn", help="A CMSIS-NN checkout to take the sources from.", metavar="DIR", readable=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a project that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Write the firmware project that runs an int8 graph on a board.

    Example: acsgen generate model.acsq --board stm32f405 -o firmware
    """
    from acsgen.emit.project import generate as stage
    from acsgen.target.boards import load_board

    project = stage(model, load_board(board), out, name=name, kernels=kernels, cmsis_nn=cmsis_nn, force=force)
    if project.kept:
        typer.echo(f"acsgen: the project that was there had been edited; it is now {project.kept}", err=True)
    for mask in project.plan.idle_masks():
        typer.echo(
            f"acsgen: warning: mask '{mask}' saves nothing before it: its groups are not those of the convolution "
            "there, its gate looks at what it masks, or somebody else reads the unmasked tensor",
            err=True,
        )
    if as_json:
        _print_json(project.summary())
    else:
        from acsgen.report.tables import plan_table

        _print(plan_table(project.plan))


@app.command()
def build(
    project: Project,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show PlatformIO's output.")] = False,
    as_json: Json = False,
) -> None:
    """Build a project with PlatformIO.

    Example: acsgen build firmware
    """
    from acsgen.target.build import build as stage

    with _progress("Building", hidden=verbose), redirect_stdout(sys.stderr) if as_json else nullcontext():
        result = stage(project, verbose=verbose)
    figures = {"elf": str(result.elf), "flash_bytes": result.flash_bytes, "ram_bytes": result.ram_bytes}
    _show(figures, f"Built in {result.seconds:.1f} s", as_json)


@app.command()
def verify(
    project: Project,
    data: Data,
    images: Annotated[int, typer.Option("--images", min=1, help="Use the first so many samples.")] = 500,
    tensors: Annotated[int, typer.Option("--tensors", min=0, help="Compare every tensor on so many.")] = 20,
    uart: Annotated[bool, typer.Option("--uart", help="Talk over the UART, as a board does (slow).")] = False,
    as_json: Json = False,
) -> None:
    """Run a built project in the emulator and compare it with the golden model, bit for bit.

    Example: acsgen verify firmware --data test.npz

    Exits with 1 if anything differs.
    """
    from acsgen.emit.project import check_unchanged
    from acsgen.quantize.acsq import load_acsq
    from acsgen.samples import load_samples
    from acsgen.target.emulator import Transport
    from acsgen.verify import verify as stage

    check_unchanged(project, ("model.acsq", "plan.json"))
    graph = load_acsq(project / "model.acsq")
    samples = load_samples(data, graph).first(images)
    with _progress("Verifying", total=len(samples.x)) as advance:
        transport: Transport = "uart" if uart else "semihosting"
        result = stage(project, samples, tensors=tensors, transport=transport, progress=advance)
    if as_json:
        _print_json(result.summary())
    else:
        from acsgen.report.tables import verification_table

        _print(verification_table(result, f"{project}: firmware against golden model"))
    _end_if_different(result)


@app.command()
def boards(as_json: Json = False) -> None:
    """List the boards.

    Example: acsgen boards --json
    """
    from dataclasses import asdict

    from acsgen.target.boards import list_boards, load_board

    known = [load_board(name) for name in list_boards()]
    if as_json:
        _print_json([{**asdict(board), "path": str(board.path)} for board in known])
    else:
        from acsgen.report.tables import boards_table

        _print(boards_table(known))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what is installed, what is missing, and the line that installs it.

    Example: acsgen doctor

    Exits with 1 if anything is missing.
    """
    from dataclasses import asdict

    from acsgen.target.doctor import checks

    results = checks()
    if as_json:
        _print_json([asdict(check) for check in results])
    else:
        from acsgen.report.tables import doctor_advice, doctor_table

        _print(doctor_table(results))
        if advice := doctor_advice(results):
            typer.echo(f"\n{advice}")
    if not all(check.ok for check in results):
        raise typer.Exit(FOUND_WRONG)


@app.command()
def demo(
    out: Annotated[
        Path,
        typer.Option("-o", "--output", help="Folder for everything that it makes.", metavar="DIR", readable=False),
    ] = Path("build/demo"),
    board: Annotated[str, typer.Option("--board", help="A board's name.", metavar="BOARD")] = "stm32f405",
    images: Annotated[int, typer.Option("--images", min=1, help="Images to run in the emulator.")] = 500,
    as_json: Json = False,
) -> None:
    """Go the whole way with the trained network that acsgen ships: Fashion-MNIST on an STM32F405.

    Example: acsgen demo -o build/demo
    """
    _refuse_foreign(out, ("firmware", "ungated", "summary.json"))
    from acsgen.demo import run_demo

    with _progress("Demo") as describe:
        result = run_demo(out, board, images, describe)
    if as_json:
        _print_json(result.summary)
    else:
        from acsgen.report.tables import demo_table

        _print(demo_table(result))
    _end_if_different(result)


def main() -> None:
    """Entry point of the program `acsgen`."""
    app()


def _end_if_different(result: Any) -> None:
    """Says how firmware and golden model differ, if they do, and ends. result: of `verify` or of the demo."""
    if not result.ok:
        typer.echo(f"acsgen: the firmware differs from the golden model: {result.first_difference}", err=True)
        raise typer.Exit(FOUND_WRONG)


def _refuse_existing(out: Path, force: bool) -> None:
    """AcsgenError if a file cannot be written there, before anything is computed for it."""
    if out.is_symlink() or (out.exists() and not out.is_file()):
        raise AcsgenError(f"{out} is a folder, a link or a device, not a file to write: give another name")
    if out.exists() and not force:
        raise AcsgenError(f"{out} exists: give another file, or --force to replace it")
    if out.exists() and out.suffix != ".acsq":
        raise AcsgenError(f"{out} is not called .acsq, --force does not replace it: give another name")
    if not out.parent.is_dir():
        raise AcsgenError(f"{out}: there is no folder {out.parent}: make it first")
    if not os.access(out.parent, os.W_OK):
        raise AcsgenError(f"{out}: the folder {out.parent} cannot be written to: give another")


def _refuse_foreign(out: Path, own: tuple[str, ...]) -> None:
    """AcsgenError if a folder holds something that does not begin like what will be written into it."""
    if out.is_dir() and not all(path.name.startswith(own) for path in out.iterdir()):
        raise AcsgenError(f"{out} holds other things: give a folder of its own")


@contextmanager
def _progress(title: str, total: int | None = None, hidden: bool = False) -> Iterator[Callable[..., None]]:
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


def _print(table: Any) -> None:
    """A table as wide as the terminal; for a pipe as wide as it is, unless COLUMNS says otherwise."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=500)
    with console.capture() as captured:
        console.print(table)
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1))


def _show(figures: dict[str, Any], title: str, as_json: bool) -> None:
    if as_json:
        _print_json(figures)
    else:
        from acsgen.report.tables import figures_table

        _print(figures_table(title, figures))


if __name__ == "__main__":
    main()
