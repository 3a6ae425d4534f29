# SPDX-License-Identifier: Apache-2.0
"""The commands that have to do with a network before it is int8: import, inspect.

Stages are imported inside the commands, as in `acsgen.cli`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acsgen.cli_options import DATA, Json
from acsgen.console import print_json, print_table, progress, refuse_existing, warn
from acsgen.errors import AcsgenError

network_commands = typer.Typer()


@network_commands.command("import")
def import_(
    checkpoint: Annotated[
        Path, typer.Argument(help="A PyTorch checkpoint (.pth.tar).", metavar="CHECKPOINT", readable=False)
    ],
    out: Annotated[
        Path, typer.Option("-o", "--output", help="The .keras checkpoint to write.", metavar="FILE", readable=False)
    ],
    arch: Annotated[str, typer.Option("--arch", help="Its architecture.", metavar="NAME")] = "densenet40",
    input_shape: Annotated[str, typer.Option("--input", help="Input of the network.", metavar="HxWxC")] = "32x32x3",
    force: Annotated[bool, typer.Option("--force", help="Replace OUTPUT if it exists.")] = False,
    as_json: Json = False,
) -> None:
    """Turn a PyTorch checkpoint of the paper's authors into a Keras checkpoint.

    Example: acsgen import acs.pth.tar --arch densenet40 -o net.keras

    Needs PyTorch: pip install 'acsgen\\[torch]'. No code from the checkpoint is executed.
    """
    from acsgen.frontend.torch import import_torch, parse_input_shape, save_model

    refuse_existing(out, force, ".keras")
    if out.suffix != ".keras":
        raise AcsgenError(f"{out}: a Keras checkpoint must be called .keras: give another name")
    shape = parse_input_shape(input_shape)
    with progress("Reading the checkpoint"):
        imported = import_torch(checkpoint, arch, shape)
    for text in imported.warnings:
        warn(text)
    save_model(imported.model, out)
    if as_json:
        print_json({"output": str(out), **imported.summary()})
    else:
        from acsgen.report.tables import figures_table

        print_table(figures_table(f"{checkpoint} as {out}", imported.rows()))


@network_commands.command()
def inspect(
    network: Annotated[
        Path, typer.Argument(help="A .keras checkpoint or an int8 graph.", metavar="CHECKPOINT", readable=False)
    ],
    data: Annotated[Path | None, DATA] = None,
    as_json: Json = False,
) -> None:
    """Say what each gate of a network costs and, with samples, what it saves: which gate pays.

    Example: acsgen inspect net.keras --data calibration.npz

    Counted are multiply-accumulates (MACs), as the firmware will execute them.
    """
    from dataclasses import asdict

    from acsgen.report.advice import advice
    from acsgen.report.inspect import inspect as stage
    from acsgen.report.inspect import read_network
    from acsgen.samples import check_samples, read_samples

    samples = None if data is None else read_samples(data)
    with progress("Reading the network"):
        graph = read_network(network)
    if data is None or samples is None:
        result = stage(graph)
    else:
        check_samples(samples, graph, data)
        with progress("Looking at the gates", total=len(samples.x)) as advance:
            result = stage(graph, samples.x, advance)
    if as_json:
        print_json({**asdict(result), "warnings": [asdict(entry) for entry in advice(result)]})
    else:
        from acsgen.report.inspect_tables import inspection_tables

        print_table(inspection_tables(result))
        for entry in advice(result):
            warn(entry.text)
