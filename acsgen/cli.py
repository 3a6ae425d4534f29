# SPDX-License-Identifier: Apache-2.0
"""The command line: each command parses, calls one stage, and prints.

    train -> quantize -> generate -> build -> verify / profile

Commands beside that way are in `acsgen.cli_network` (before it) and `acsgen.cli_board` (after it).

Stages are imported inside the commands: `acsgen --help` imports nothing heavy.
"""

from __future__ import annotations

import shlex
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from acsgen import __version__
from acsgen.cli_board import board_commands
from acsgen.cli_network import network_commands
from acsgen.cli_options import Data, Json, On, Project, pairs
from acsgen.console import (
    INTERRUPTED,
    Commands,
    end_if_different,
    print_json,
    print_table,
    progress,
    refuse_existing,
    refuse_foreign,
    show_figures,
    warn,
)

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


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"acsgen {__version__}")
        raise typer.Exit


@app.callback(cls=Commands)
def _main(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Options of every command; Commands reads `debug`."""


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A recipe: a .toml file, or one by name.", metavar="RECIPE")],
    out: Annotated[Path, typer.Option("-o", "--output", help="Folder to make.", metavar="RUN", readable=False)],
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was interrupted.")] = False,
    threads: Annotated[
        int, typer.Option("--threads", min=1, max=256, help="TensorFlow's; only 1 repeats to the last bit.")
    ] = 1,
    as_json: Json = False,
) -> None:
    """Train a network of the zoo: its dense twin, then the gated one to a budget of MACs.

    Example: acsgen train digits_quick -o run
    """
    from acsgen.tf_start import start_tensorflow

    start_tensorflow(threads)
    from acsgen.nn.recipe import find_recipe
    from acsgen.nn.training.run import begin
    from acsgen.nn.training.run import train as stage

    run = begin(find_recipe(recipe), out, resume)
    try:
        with progress("Training", total=run.epochs) as advance:
            report = stage(run, advance)
    except KeyboardInterrupt:
        line = f"acsgen train {shlex.quote(recipe)} -o {shlex.quote(str(out))} --resume"
        typer.echo(f"acsgen: interrupted; go on with: {line}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        print_json(report)
    else:
        show_figures(report["summary"], f"{out}: on the test images", as_json)


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

    refuse_existing(out, force)
    samples = read_samples(data)  # first: what reads a checkpoint takes seconds to import
    with progress("Reading the checkpoint"):
        graph = load_keras(checkpoint)
    check_samples(samples, graph, data)
    if len(samples.x) < FEW_SAMPLES:
        count = f"{len(samples.x)} calibration sample{'s' * (len(samples.x) != 1)}"
        warn(f"{count}: ranges may be too narrow, {FEW_SAMPLES} or more are better")
    with progress("Calibrating", total=len(samples.x)) as advance:
        quantized = stage.quantize(graph, samples.x, advance)
    save_acsq(quantized, out)
    if as_json:
        print_json({"output": str(out), "macs": quantized.macs(), "gates": len(quantized.gates)})
    else:
        from acsgen.report.tables import graph_table

        print_table(graph_table(quantized))


@app.command()
def generate(
    model: Annotated[Path, typer.Argument(help="An int8 graph.", metavar="MODEL.acsq", readable=False)],
    out: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.", metavar="PROJECT", readable=False)],
    board: Annotated[
        str | None, typer.Option("--board", help="A board's name (see 'acsgen boards'); of a project.", metavar="BOARD")
    ] = None,
    kind: Annotated[
        str, typer.Option("--as", help="project, library (PlatformIO), arduino, esp-idf or cmake.", metavar="KIND")
    ] = "project",
    name: Annotated[str | None, typer.Option("--name", help="C name of the model (default: its own).")] = None,
    kernels: Annotated[
        str | None, typer.Option("--kernels", help="Kernel set (default: the board's first, or portable).")
    ] = None,
    cmsis_nn: Annotated[
        Path | None,
        typer.Option("--cmsis-nn", help="A CMSIS-NN checkout to take the sources from.", metavar="DIR", readable=False),
    ] = None,
    no_winograd: Annotated[bool, typer.Option("--no-winograd", help="Small weights, whatever the flash.")] = False,
    form: Annotated[
        list[str] | None,
        typer.Option(
            "--form", help="The form that a layer must take (plan.json has both names).", metavar="LAYER=FORM"
        ),
    ] = None,
    flash_budget: Annotated[int | None, typer.Option(min=1, help="Most bytes of flash (default: the board's).")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a project that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Write the firmware project that runs an int8 graph on a board, or a library for a program of your own.

    Example: acsgen generate model.acsq --board stm32f405 -o firmware

    Example: acsgen generate model.acsq --as cmake -o mynet
    """
    from acsgen.emit.packages import generate_any
    from acsgen.report.advice import idle_mask

    how: dict[str, Any] = {"name": name, "kernels": kernels, "cmsis_nn": cmsis_nn, "force": force}
    how["forms"] = pairs("--form", form or [], "LAYER=FORM")
    project = generate_any(model, kind, board, out, winograd=not no_winograd, flash_budget=flash_budget, **how)
    if project.kept:
        typer.echo(f"acsgen: the project that was there had been edited; it is now {project.kept}", err=True)
    for mask in project.plan.idle_masks():
        warn(idle_mask(mask).text)
    if as_json:
        print_json(project.summary())
    else:
        from acsgen.report.tables import plan_table

        print_table(plan_table(project.plan))


@app.command()
def hook(
    out: Annotated[
        Path, typer.Option("-o", "--output", help="The script to write.", metavar="FILE", readable=False)
    ] = Path("acsgen_hook.py"),
    force: Annotated[bool, typer.Option("--force", help="Replace OUTPUT if it exists.")] = False,
) -> None:
    """Write the script by which PlatformIO generates a model's C whenever it builds your own program.

    Example: acsgen hook -o acsgen_hook.py

    The script says what goes into platformio.ini.
    """
    from acsgen.resources import resource_dir

    refuse_existing(out, force, ".py")
    out.write_bytes((resource_dir("firmware") / "pio" / "hook" / "acsgen_hook.py").read_bytes())


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

    with progress("Building", hidden=verbose), redirect_stdout(sys.stderr) if as_json else nullcontext():
        result = stage(project, verbose=verbose)
    figures = {"elf": str(result.elf), "flash_bytes": result.flash_bytes, "ram_bytes": result.ram_bytes}
    show_figures(figures, f"Built in {result.seconds:.1f} s", as_json)


@app.command()
def verify(
    project: Project,
    data: Data,
    images: Annotated[int, typer.Option("--images", min=1, help="Use the first so many samples.")] = 500,
    tensors: Annotated[int, typer.Option("--tensors", min=0, help="Compare every tensor on so many.")] = 20,
    uart: Annotated[bool, typer.Option("--uart", help="Talk over the UART, as a board does (slow).")] = False,
    engine: Annotated[
        str | None, typer.Option("--engine", help="qemu or unicorn (default: what is installed).")
    ] = None,
    on: On = None,
    as_json: Json = False,
) -> None:
    """Run a built project in the emulator or on a board and compare it with the golden model, bit for bit.

    Example: acsgen verify firmware --data test.npz

    With --on /dev/ttyACM0 on the board there, which also gives cycles and microseconds.
    Exits with 1 if anything differs.
    """
    from acsgen.emit.project import check_unchanged
    from acsgen.quantize.acsq import load_acsq
    from acsgen.samples import load_samples
    from acsgen.target.emulator import Transport
    from acsgen.target.engines import parse_engine
    from acsgen.verify import verify as stage

    wanted = parse_engine(engine)
    check_unchanged(project, ("model.acsq", "plan.json"))
    graph = load_acsq(project / "model.acsq")
    samples = load_samples(data, graph).first(images)
    with progress("Verifying", total=len(samples.x)) as advance:
        transport: Transport = "uart" if uart else "semihosting"
        result = stage(project, samples, tensors=tensors, transport=transport, engine=wanted, port=on, progress=advance)
    if as_json:
        print_json(result.summary())
    else:
        from acsgen.report.tables import verification_table

        print_table(verification_table(result, f"{project}: firmware against golden model"))
    end_if_different(result)


@app.command()
def profile(
    project: Project,
    inputs: Annotated[
        Path | None,
        typer.Option(
            "--inputs", help="Samples (.npz, or .npy of x); else one random input.", metavar="FILE", readable=False
        ),
    ] = None,
    images: Annotated[int, typer.Option("--images", min=1, help="Use the first so many samples.")] = 10,
    opened: Annotated[bool, typer.Option("--open", help="Force every gate open.")] = False,
    engine: Annotated[
        str | None,
        typer.Option("--engine", help="qemu or unicorn; else what is installed, QEMU first.", metavar="NAME"),
    ] = None,
    flash: Annotated[
        str | None, typer.Option("--flash", help="Model the flash of this board instead.", metavar="BOARD")
    ] = None,
    function: Annotated[
        str | None, typer.Option("--listing", help="Print the instructions of this function.", metavar="FUNCTION")
    ] = None,
    as_json: Json = False,
) -> None:
    """Count what each layer of a built project executes, and model the cycles that it takes.

    Example: acsgen profile firmware --inputs test.npz

    The firmware is the one that runs on the board. Instructions are exact, as mean over the inputs. Cycles are
    modelled: from the core's instruction timings, and the board's flash with its wait states and caches.
    """
    from dataclasses import asdict

    from acsgen.emit.project import check_unchanged
    from acsgen.golden.interpreter import quantize_input
    from acsgen.profile import listing
    from acsgen.profile import profile as stage
    from acsgen.quantize.acsq import load_acsq
    from acsgen.samples import load_samples
    from acsgen.target.boards import load_board
    from acsgen.target.engines import parse_engine
    from acsgen.target.link import RunMode

    check_unchanged(project, ("model.acsq", "plan.json"))
    values = None
    if inputs is not None:
        graph = load_acsq(project / "model.acsq")
        values = quantize_input(graph, load_samples(inputs, graph).first(images).x)
    with progress("Counting"):
        result = stage(
            project,
            values,
            engine=parse_engine(engine),
            mode=RunMode.OPEN if opened else RunMode.SKIP,
            flash=None if flash is None else load_board(flash),
        )
    lines = None if function is None else listing(result, function)
    if as_json:
        print_json(result.summary() if lines is None else [asdict(line) for line in lines])
    else:
        from acsgen.report.profile_table import listing_table, profile_table

        print_table(
            profile_table(result) if function is None or lines is None else listing_table(result, function, lines)
        )


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
    refuse_foreign(out, ("firmware", "ungated", "summary.json"))
    from acsgen.demo import run_demo

    with progress("Demo") as describe:
        result = run_demo(out, board, images, describe)
    if as_json:
        print_json(result.summary)
    else:
        from acsgen.report.tables import demo_table

        print_table(demo_table(result))
    end_if_different(result)


app.add_typer(network_commands)
app.add_typer(board_commands)


def main() -> None:
    """Entry point of the program `acsgen`."""
    app()


if __name__ == "__main__":
    main()
