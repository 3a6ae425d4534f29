# SPDX-License-Identifier: Apache-2.0
"""The experiments' command line."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from experiments.jobs import Job, units

ROOT = Path("build/experiments")

app = typer.Typer(help=__doc__, no_args_is_help=False, invoke_without_command=True)
console = Console(stderr=True)

Folder = Annotated[Path, typer.Option("--root", help="Folder of the runs.")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes at a time, one thread each.")]
Precision = Annotated[str, typer.Option(help="Of the training steps: float32, or mixed_bfloat16 where it is faster.")]


@app.callback()
def everything(context: typer.Context) -> None:
    """Trains, measures and writes the tables, about three hours on two cores; goes on where it was stopped.

    Example: python -m experiments train --workers 2
    """
    if context.invoked_subcommand is None:
        train()
        recipe()
        measure()
        tables()


@app.command()
def train(root: Folder = ROOT, workers: Workers = 2, precision: Precision = "float32") -> None:
    """Trains what is not yet trained. Example: python -m experiments train --workers 2"""
    _in_processes("train-unit", root, workers, "--precision", precision)


@app.command()
def recipe(root: Folder = ROOT) -> None:
    """Trains the recipe that acsgen ships on all images. Example: python -m experiments recipe"""
    from acsgen.tf_start import start_tensorflow

    start_tensorflow(1)
    from experiments.recipe import run_recipe

    console.print(run_recipe(root))


@app.command()
def measure(root: Folder = ROOT, workers: Workers = 2) -> None:
    """Quantises, builds and runs what is trained and not yet measured. Example: python -m experiments measure"""
    _in_processes("measure-unit", root, workers)


@app.command()
def tables(root: Folder = ROOT) -> None:
    """Writes docs/results.md and experiments/results.json. Example: python -m experiments tables"""
    from experiments.tables import write

    for path in write(root):
        console.print(f"wrote {path}")


@app.command(hidden=True)
def train_unit(index: int, root: Folder = ROOT, precision: Precision = "float32") -> None:
    """Trains one unit, in this process."""
    from acsgen.tf_start import start_tensorflow

    start_tensorflow(1)
    from experiments import train as training

    for line in training.train_unit(units()[index], root, precision):
        print(line, flush=True)


@app.command(hidden=True)
def measure_unit(index: int, root: Folder = ROOT) -> None:
    """Measures one unit, in this process."""
    from experiments import measure as measuring

    for line in measuring.measure_unit(units()[index], root):
        print(line, flush=True)


def _in_processes(command: str, root: Path, workers: int, *options: str) -> None:
    """Runs a command for every unit, each in a process of its own; ends with an error if one of them does."""
    todo: list[list[Job]] = units()

    def run(index: int) -> int:
        arguments = [sys.executable, "-m", "experiments", command, str(index), "--root", str(root), *options]
        return subprocess.call(arguments)

    with ThreadPoolExecutor(workers) as pool:
        failed = [todo[i][0].name for i, code in enumerate(pool.map(run, range(len(todo)))) if code]
    if failed:
        console.print(f"failed: the units of {', '.join(failed)}")
        raise typer.Exit(2)


if __name__ == "__main__":
    app()
