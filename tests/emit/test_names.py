# SPDX-License-Identifier: Apache-2.0
"""Names of a network, whatever they are, become C that compiles; two networks go into one program."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from acsgen.emit.names import Names, identifier, model_identifier
from acsgen.emit.project import generate
from acsgen.errors import AcsgenError
from acsgen.graph import Graph
from acsgen.quantize.acsq import save_acsq
from acsgen.target.boards import Board
from tests.models import renamed, small_graph

NASTY = [
    "int", "main", "log", "index", "acs_conv_t", "memcpy", "9 lives", "größe", "Ümläut", "a/b", "a_b", "A-B", "a b_2",
    "net", "net_run", "size_t", "bits", "__x__", "-", "linux", "n" * 200, "observe", "y0",
]  # fmt: skip
WARNINGS = ["-std=gnu11", "-Wall", "-Wextra", "-Wshadow", "-Werror", "-fsyntax-only"]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("block1/conv:0", "block1_conv_0"),
        ("Conv", "conv"),
        ("for", "l_for"),
        ("nullptr", "l_nullptr"),
        ("exp", "l_exp"),
        ("3x3", "l_3x3"),
        ("é", "x"),
        ("", "x"),
        ("uint8_t", "l_uint8_t"),
        ("acs_x", "l_acs_x"),
    ],
)
def test_identifier(name: str, wanted: str) -> None:
    assert identifier(name) == wanted


def test_identifiers_are_c() -> None:
    for name in NASTY:
        assert re.fullmatch(r"[a-z][a-z0-9_]{0,62}", identifier(name)), name
        assert "__" not in identifier(name)


def test_no_two_names_share_an_identifier() -> None:
    names = Names("net")
    given = [names.of(name) for name in (*NASTY, "a_b_2", "a b 2", "A B")]
    assert len(set(given)) == len(given)
    assert [names.of(name) for name in NASTY] == given[: len(NASTY)]
    assert not [name for name in given if f"{name}_".startswith("net_")]


@pytest.mark.parametrize("name", ["net", "9x", "int", "Größe 2", "n" * 300, "l_x", "demo"])
def test_a_models_c_name_is_its_own(name: str) -> None:
    result = model_identifier(name)
    assert model_identifier(result) == result
    assert len(result) <= 63


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("acs", "acs and arm belong to the runtime and CMSIS-NN; give --name"),
        ("acs_net", "acs and arm belong to the runtime"),
        ("ARM-net", "acs and arm belong to the runtime"),
        ("string", r"its header string\.h would hide another of that name; give --name"),
        ("Math", r"its header math\.h would hide"),
        ("link", r"its header link\.h would hide"),
        ("app_model", r"its header app_model\.h would hide"),
        ("port", r"its header port\.h would hide"),
    ],
)
def test_names_that_no_model_can_have(name: str, message: str) -> None:
    with pytest.raises(AcsgenError, match=f"model name '{name}': {message}"):
        model_identifier(name)


def nasty_graph(names: list[str], model: str) -> Graph:
    """A small graph whose operators have these names, as far as there are operators."""
    graph = small_graph(model)
    return renamed(graph, dict(zip((op.output for op in graph.ops), names, strict=False)))


def write(graph: Graph, board: Board, folder: Path, name: str) -> Path:
    model = folder / f"{name}.acsq"
    save_acsq(graph, model)
    generate(model, board, folder / name, name=name)
    return folder / name


def compile_model(project: Path, board: Board, *options: str) -> None:
    """Compiles the model's own files."""
    sources = sorted((project / "lib" / "model").glob("*.c"))
    includes = [f"-I{project / 'lib' / folder}" for folder in ("model", "acs")]
    command = [board.toolchain.compiler, *board.cpu_flags, *options, *includes, *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=project)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("start", [0, 12])
def test_nasty_names_compile(start: int, board: Board, tmp_path: Path) -> None:
    project = write(nasty_graph(NASTY[start:], "net"), board, tmp_path, "net")
    compile_model(project, board, *WARNINGS)


def test_nasty_names_of_gates_compile(board: Board, tmp_path: Path) -> None:
    for number, name in enumerate(["bytes", "time", "net_arena", "mode", "masks"]):
        graph = small_graph()
        project = write(renamed(graph, {graph.gates[0].output: name}), board, tmp_path, f"net{number}")
        compile_model(project, board, *WARNINGS)


def test_two_models_in_one_program(board: Board, tmp_path: Path) -> None:
    """Their names are such that prefix and name of a layer could be mistaken for one another."""
    first, second = (small_graph(name) for name in ("net", "net_a"))
    layer = first.ops[0].output
    projects = [
        write(renamed(first, {layer: "a_conv"}), board, tmp_path, "net"),
        write(renamed(second, {layer: "conv"}), board, tmp_path, "net_a"),
    ]
    program = tmp_path / "program"
    for folder in ("model", "acs"):
        (program / folder).mkdir(parents=True)
    for project in projects:
        for path in [*(project / "lib" / "model").iterdir(), *(project / "lib" / "acs").glob("*.h")]:
            (program / path.parent.name / path.name).write_bytes(path.read_bytes())
    (program / "both.c").write_text('#include "net.h"\n#include "net_a.h"\n')
    sources = [str(path) for path in (*sorted((program / "model").glob("*.c")), program / "both.c")]
    command = [board.toolchain.compiler, *board.cpu_flags, *WARNINGS[:-1], "-r", "-nostdlib", "-o", "both.o"]
    command += ["-Imodel", "-Iacs", *sources]
    done = subprocess.run(command, cwd=program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
