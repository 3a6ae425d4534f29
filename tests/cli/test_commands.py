# SPDX-License-Identifier: Apache-2.0
"""What the commands print and return when all is well."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main

from acsgen import __version__
from acsgen.cli import app
from acsgen.quantize import quantize
from acsgen.quantize.acsq import load_acsq, save_acsq
from acsgen.quantize.calibrate import FEW_SAMPLES
from acsgen.resources import resource_dir
from tests.cli.conftest import Run, in_a_process
from tests.graphs import Builder

COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
HEAVY = ("numpy", "tensorflow", "keras", "jinja2", "serial", "elftools", "platformio", "acsgen.graph", "acsgen.target")


def test_help_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "acsgen.cli", "--help"], capture_output=True, text=True, check=True
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    assert "typer" in imported
    assert not {name for name in imported if name.startswith(HEAVY)}
    for command in COMMANDS:
        assert f" {command} " in done.stdout


def test_commands() -> None:
    assert {"quantize", "generate", "build", "verify", "boards", "doctor", "demo"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str, run: Run) -> None:
    result = run(command, "--help")
    assert (result.code, result.err) == (0, "")
    assert f"Example: acsgen {command}" in result.out


def test_defaults_are_told(run: Run) -> None:
    text = " ".join(run("generate", "--help").out.replace("│", " ").split())
    assert "C name of the model (default: its own)." in text
    assert "Kernel set (default: the board's first, or portable)." in text


def test_version(run: Run) -> None:
    assert run("--version").out == f"acsgen {__version__}\n"
    assert run("--debug", "--version").code == 0


@pytest.mark.parametrize("command", ["boards", "doctor"])
def test_json_and_nothing_else(command: str, run: Run) -> None:
    result = run(command, "--json")
    assert (result.code, result.err) == (0, "")
    entries = json.loads(result.out)
    assert entries and all(isinstance(entry, dict) for entry in entries)


def test_boards_say_what_was_never_run(run: Run) -> None:
    never_run = {board["name"]: board["never_run"] for board in json.loads(run("boards", "--json").out)}
    assert never_run["esp32"] == ["esp32-espidf", "esp32-arduino"]
    assert never_run["stm32f405"] == ["stm32f405-ststm32", "stm32f405-arduino"]
    assert never_run["mps2-an386"] == []


def test_quantize(tmp_path: Path) -> None:
    """With the shipped checkpoint, in a process of its own: TensorFlow must be silent."""
    with np.load(resource_dir("demo") / "calibration.npz") as calibration:
        np.savez(tmp_path / "few.npz", x=calibration["x"][:FEW_SAMPLES], scale=calibration["scale"])
    out = tmp_path / "model.acsq"
    arguments = [resource_dir("demo") / "fashion_acs.keras", "--data", tmp_path / "few.npz", "-o", out, "--json"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
    result = in_a_process("quantize", *arguments, env=environment)
    assert (result.code, result.err) == (0, "")
    figures = json.loads(result.out)
    graph = load_acsq(out)
    assert figures == {"output": str(out), "macs": graph.macs(), "gates": len(graph.gates)}
    assert {path.name for path in tmp_path.iterdir()} == {"few.npz", "model.acsq"}
    assert stat.S_IMODE(out.stat().st_mode) == stat.S_IMODE((tmp_path / "few.npz").stat().st_mode)


@pytest.mark.parametrize(("count", "warned"), [(1, "1 calibration sample:"), (31, "31 calibration samples:"), (32, "")])
def test_few_samples_are_worth_a_warning(
    count: int, warned: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = Builder(np.random.default_rng(1), (4, 4, 4), "net")
    network = b.graph(b.dense(b.flatten("x"), 3))
    monkeypatch.setattr("acsgen.frontend.keras.load_keras", lambda path: network)
    np.savez(tmp_path / "few.npz", x=np.random.default_rng(2).normal(size=(count, 4, 4, 4)))
    result = run("quantize", "net.keras", "--data", tmp_path / "few.npz", "-o", tmp_path / "m.acsq", "--json")
    assert result.code == 0 and json.loads(result.out)["gates"] == 0
    line = f"acsgen: warning: {warned} ranges may be too narrow, 32 or more are better\n"
    assert result.err == (line if warned else "")


def test_generate(run: Run, model: Path, tmp_path: Path) -> None:
    result = run("generate", model, "--board", "stm32f405", "-o", tmp_path / "a", "--name", "x", "--json")
    assert (result.code, result.err) == (0, "")
    figures = json.loads(result.out)
    assert figures["name"] == "x" and figures["board"] == "stm32f405" and figures["kept"] is None
    table = run("generate", model, "--board", "stm32f405", "-o", tmp_path / "b").out
    assert f"{figures['arena_bytes']:,} bytes of arena" in table
    for op in load_acsq(model).ops:
        if not op.name.startswith(("flatten", "reshape")):  # the same bytes, no step
            assert op.name in table


def test_generate_with_forms(run: Run, model: Path, tmp_path: Path) -> None:
    """--form goes through to plan.json."""
    board = ("--board", "stm32f405", "--kernels", "acs")
    run("generate", model, *board, "-o", tmp_path / "a", "--json")
    first = json.loads((tmp_path / "a" / "plan.json").read_text())["steps"]
    layer = next(step["op"] for step in first if step["form"] not in ("", "plain"))
    result = run("generate", model, *board, "-o", tmp_path / "b", "--form", f"{layer}=plain", "--json")
    assert result.code == 0
    steps = json.loads((tmp_path / "b" / "plan.json").read_text())["steps"]
    assert [(step["form"], step["form_why"]) for step in steps if step["op"] == layer] == [("plain", "Asked for.")]


def test_generate_a_package(run: Run, model: Path, tmp_path: Path) -> None:
    result = run("generate", model, "--as", "esp-idf", "-o", tmp_path / "a", "--name", "x", "--json")
    assert (result.code, result.err) == (0, "")
    figures = json.loads(result.out)
    assert (figures["name"], figures["kind"], figures["board"]) == ("x", "esp-idf", "")
    assert (tmp_path / "a" / "idf_component.yml").is_file()
    table = run("generate", model, "--as", "library", "--kernels", "cmsis_nn", "-o", tmp_path / "b").out
    assert "bytes of arena" in table


def test_generate_says_where_an_edited_project_went(run: Run, model: Path, tmp_path: Path) -> None:
    arguments = ("generate", model, "--board", "stm32f405", "-o", tmp_path / "a", "--json")
    run(*arguments)
    (tmp_path / "a" / "README.md").write_text("mine", encoding="utf-8")
    result = run(*arguments, "--force")
    kept = tmp_path / "a.old1"
    assert json.loads(result.out)["kept"] == str(kept)
    assert result.err == f"acsgen: the project that was there had been edited; it is now {kept}\n"
    assert (kept / "README.md").read_text(encoding="utf-8") == "mine"


def test_build_verbosely_with_json(built: Path, run: Run) -> None:
    """PlatformIO's output must not come between."""
    result = run("build", built, "--json", "--verbose")
    assert result.code == 0
    figures = json.loads(result.out)
    assert Path(figures["elf"]).is_file() and figures["flash_bytes"] > 10_000 and figures["ram_bytes"] > 4096
    assert "SUCCESS" in result.err


def test_build(built: Path, run: Run) -> None:
    result = run("build", built)
    assert (result.code, result.err) == (0, "")
    assert "flash_bytes" in result.out and "SUCCESS" not in result.out


def test_verify(built: Path, samples: Path, run: Run) -> None:
    result = run("verify", built, "--data", samples, "--json", "--images", "3", "--tensors", "1")
    assert (result.code, result.err) == (0, "")
    figures = json.loads(result.out)
    assert figures["images"] == 3 and figures["mismatched_logits"] == figures["mismatched_masks"] == 0
    table = run("verify", built, "--data", samples).out
    assert "mismatched logits" in table and "accuracy" in table


def test_a_difference_is_told_and_is_exit_code_1(
    built: Path, samples: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The golden model is made to differ: it would be the firmware."""
    module = sys.modules["acsgen.verify.verify"]  # the package has a function of that name
    original = module.run  # type: ignore[attr-defined]

    def off_by_one(graph: Any, *arguments: Any, **options: Any) -> Any:
        values = original(graph, *arguments, **options)
        return {**values, graph.output: values[graph.output] ^ 1}

    monkeypatch.setattr(module, "run", off_by_one)
    result = run("verify", built, "--data", samples, "--json")
    assert result.code == 1
    assert json.loads(result.out)["mismatched_logits"] > 0
    assert result.err.startswith("acsgen: the firmware differs from the golden model: sample 0: output: firmware [")
    assert result.err.count("\n") == 1


# --- pipes and signals -----------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["boards"], ["boards", "--json"], ["--help"]])
def test_a_closed_pipe_ends_it_quietly(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = "from acsgen.cli import main; main()"
    with os.fdopen(writer, "w") as pipe:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], stdout=pipe, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.stderr == ""
    assert done.returncode in ((1,) if arguments == ["--help"] else (141,))


def test_no_stdout_at_all() -> None:
    done = subprocess.run(
        ["sh", "-c", '"$0" -c "from acsgen.cli import main; main()" boards >&-', sys.executable],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_interrupted(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    code = (
        "import pathlib, signal, time\n"
        # A shell that starts a job in the background makes it ignore the signal, and its children with it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import acsgen.target.boards as boards\n"
        f"def wait(): pathlib.Path({str(ready)!r}).touch(); time.sleep(60)\n"
        "boards.list_boards = wait\n"
        "from acsgen.cli import main\n"
        "main()"
    )
    process = subprocess.Popen([sys.executable, "-c", code, "boards"], stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 30
        while not ready.exists():
            assert process.poll() is None, "it ended before it was interrupted"
            assert time.monotonic() < deadline, "it never got as far as being interrupted"
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, err) == (130, "acsgen: interrupted\n")


def test_a_mask_that_saves_nothing_is_named(tmp_path: Path, run: Run) -> None:
    """Here the gate decides on what it masks, after that was computed."""
    b = Builder(np.random.default_rng(0), (6, 6, 4), "net")
    inside = b.conv("x", 8)
    masked = b.mask(inside, b.gate(inside, 4))
    save_acsq(quantize(b.graph(b.conv(masked, 8)), b.samples), tmp_path / "net.acsq")
    done = run("generate", tmp_path / "net.acsq", "--board", "mps2-an386", "-o", tmp_path / "out", "--json")
    assert done.code == 0
    assert json.loads(done.out)["idle_masks"] == [masked]
    assert done.err.startswith(f"acsgen: warning: mask '{masked}' saves nothing before it")
