# SPDX-License-Identifier: Apache-2.0
"""The commands that have to do with boards: boards, flash, run, monitor, doctor.

Stages are imported inside the commands, as in `acsgen.cli`.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from acsgen.cli_options import Json, On, Project
from acsgen.console import FOUND_WRONG, print_json, print_table, progress, show_figures, warn
from acsgen.errors import AcsgenError

board_commands = typer.Typer()


@board_commands.command()
def boards(as_json: Json = False) -> None:
    """List the boards.

    Example: acsgen boards --json
    """
    from dataclasses import asdict

    from acsgen.emit.official import never_run
    from acsgen.target.boards import list_boards, load_board
    from acsgen.target.engines import runs_in
    from acsgen.target.flash import probes_of

    known = [load_board(name) for name in list_boards()]
    if as_json:
        more = {
            board.name: {"runs_in": runs_in(board), "never_run": never_run(board), "probes": probes_of(board)}
            for board in known
        }
        print_json([{**asdict(board), "path": str(board.path), **more[board.name]} for board in known])
    else:
        from acsgen.report.tables import boards_table

        print_table(boards_table(known))


@board_commands.command()
def flash(
    project: Project,
    port: Annotated[
        str | None, typer.Option("--port", help="Serial port, or with gdb host:port of its server.", metavar="PORT")
    ] = None,
    probe: Annotated[
        str | None, typer.Option("--probe", help="stlink, jlink, cmsis-dap, uart or gdb.", metavar="PROBE")
    ] = None,
    options: Annotated[
        str, typer.Option("--tool-options", help="Further options for the program that flashes.", metavar="TEXT")
    ] = "",
    as_json: Json = False,
) -> None:
    """Write a built project's firmware to its board, and verify what was written.

    Example: acsgen flash firmware --probe uart --port /dev/ttyUSB0
    """
    from acsgen.target.flash import PROBES
    from acsgen.target.flash import flash as stage
    from acsgen.verify.firmware import board_of

    wanted = next((known for known in PROBES if known == probe), None)
    if probe is not None and wanted is None:
        raise AcsgenError(f"--probe is one of {', '.join(PROBES)}, not {probe!r}")
    board = board_of(project)
    with progress(f"Flashing {board.name}"):
        result = stage(
            project, board, port=port, probe=wanted, options=shlex.split(options), log=project / ".pio" / "flash.log"
        )
    figures = {
        "image": str(result.image),
        "bytes": result.bytes,
        "probe": result.probe,
        "program": result.program,
        "answers": None if result.info is None else result.info.name,
    }
    show_figures(figures, f"Flashed and verified {board.name}", as_json)
    if port is not None and result.info is None and result.probe == "uart" and board.is_bare:
        pins = f", {board.setup.uart_pins}" if board.setup else ""
        warn(
            f"nothing answers on {port} yet: leave the ROM loader (BOOT0 low), reset, and try acsgen run "
            f"--on the port of the firmware's UART{pins}"
        )


@board_commands.command()
def run(
    project: Project,
    inputs: Annotated[
        Path, typer.Option("--input", help="A .npy of one input or several.", metavar="FILE", readable=False)
    ],
    on: On = None,
    budget: Annotated[
        int | None,
        typer.Option("--budget", min=0, help="Raise the gates' thresholds until the mean of MACs is this."),
    ] = None,
    raised: Annotated[
        int,
        typer.Option(
            "--raise", min=-128, max=127, help="Raise them by so many steps of two of the gates' int8 logits."
        ),
    ] = 0,
    steps: Annotated[bool, typer.Option("--steps", help="Measure every step too.")] = False,
    uart: Annotated[bool, typer.Option("--uart", help="In the emulator, talk over the UART (slow).")] = False,
    as_json: Json = False,
) -> None:
    """Run a project's firmware on inputs, on a board or in the emulator.

    Example: acsgen run firmware --on /dev/ttyACM0 --input x.npy

    Inputs are int8 as the model reads them, or any other type in the model's own units.
    """
    from acsgen.emit.project import check_unchanged
    from acsgen.verify.once import run as stage

    if budget is not None and raised:
        raise AcsgenError("--budget chooses by how much thresholds are raised: leave out --raise")
    check_unchanged(project, ("model.acsq", "plan.json"))
    with progress("Running") as advance:
        result = stage(
            project,
            inputs,
            port=on,
            transport="uart" if uart else "semihosting",
            raised=raised,
            budget=budget,
            steps=steps,
            progress=advance,
        )
    if as_json:
        print_json(result.summary())
    else:
        from acsgen.report.board_tables import runs_table, steps_table

        print_table(runs_table(result, f"{project} on {on or 'the emulator'}"))
        if steps:
            print_table(steps_table(result))


@board_commands.command()
def monitor(
    port: Annotated[str, typer.Argument(help="Serial port, or a URL such as socket://host:port.", metavar="PORT")],
    baud: Annotated[int, typer.Option("--baud", min=300, help="Bits per second.")] = 115200,
    seconds: Annotated[float | None, typer.Option("--seconds", min=0, help="End after so long.")] = None,
    as_json: Json = False,
) -> None:
    """Show what a board says: frames of the link in words, anything else as text. Ctrl-C ends it.

    Example: acsgen monitor /dev/ttyACM0

    With --json, one object for each line or frame.
    """
    import json

    from acsgen.target.monitor import watch
    from acsgen.target.stream import SerialStream

    with SerialStream(port, baud) as stream:
        for event in watch(stream, seconds):
            typer.echo(json.dumps({event.kind: event.text}) if as_json else event.text)


@board_commands.command()
def doctor(as_json: Json = False) -> None:
    """Say what is installed, what is missing, and the line that installs it.

    Example: acsgen doctor

    Exits with 1 if anything is missing.
    """
    from dataclasses import asdict

    from acsgen.target.doctor import checks

    results = checks()
    if as_json:
        print_json([asdict(check) for check in results])
    else:
        from acsgen.report.tables import doctor_advice, doctor_table

        print_table(doctor_table(results))
        if advice := doctor_advice(results):
            typer.echo(f"\n{advice}")
    if not all(check.ok for check in results):
        raise typer.Exit(FOUND_WRONG)
