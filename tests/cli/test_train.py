# SPDX-License-Identifier: Apache-2.0
"""`acsgen train`: what it prints, in which words it stops, and that its files are what the next stage takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from acsgen.nn.training import run as stage
from tests.cli.conftest import Run, in_a_process
from tests.nn.tiny import write_recipe

MODEL = "stem = 4\nwidths = [4]\nstrides = [1]"


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """TensorFlow runs already in this process; the numbers that it is asked for."""
    asked: list[int] = []
    monkeypatch.setattr("acsgen.tf_start.start_tensorflow", asked.append)
    return asked


def test_interrupted_and_resumed(run: Run, threads: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, out = write_recipe(tmp_path, MODEL, gated_epochs=1), tmp_path / "my run"
    write = stage._write_state

    def write_and_stop(*arguments: Any) -> None:
        write(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stage, "_write_state", write_and_stop)
        outcome = run("train", recipe, "-o", out)
    assert (outcome.code, outcome.out) == (130, "")
    wanted = f"acsgen: interrupted; go on with: acsgen train {recipe} -o '{out}' --resume"
    assert outcome.err.splitlines()[-1] == wanted

    message = run("train", recipe, "-o", out).refusal
    assert message == f"{out} exists: go on with --resume, or give another folder"
    outcome = run("train", recipe, "-o", out, "--resume", "--threads", "2")
    assert outcome.code == 0 and threads == [1, 1, 2]
    assert "on the test images" in " ".join(outcome.out.split()) and "accuracy" in outcome.out
    assert "going on after epoch 1 of phase dense" in outcome.err
    # A finished run: its report again.
    again = run("train", recipe, "-o", out, "--resume", "--json")
    assert json.loads(again.out) == json.loads((out / "report.json").read_text(encoding="utf-8"))

    model = tmp_path / "model.acsq"
    outcome = run("quantize", out / "gated.keras", "--data", out / "calibration.npz", "-o", model)
    assert outcome.code == 0 and model.is_file()


def test_refusals(run: Run, threads: list[int], tmp_path: Path) -> None:
    assert run("train", "digit_quick", "-o", tmp_path / "a").refusal.endswith("did you mean digits_quick?")
    assert run("train", tmp_path / "a.toml", "-o", tmp_path / "a").refusal.endswith(
        "cannot be read: No such file or directory"
    )
    recipe = write_recipe(tmp_path, "gates = 3")
    message = run("train", recipe, "-o", tmp_path / "a").refusal
    assert message == f"{recipe}: model.gates is not an argument of acs_resnet; did you mean gate?"
    assert not (tmp_path / "a").exists()


def test_in_a_process_of_its_own(tmp_path: Path) -> None:
    """One thread is what TensorFlow gets; JSON alone on stdout, and nothing of TensorFlow's on stderr."""
    recipe = write_recipe(tmp_path, MODEL, gated_epochs=0)
    prelude = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(sys.modules['tensorflow'].config.threading."
        "get_intra_op_parallelism_threads(), 'thread', file=sys.stderr))"
    )
    outcome = in_a_process("train", recipe, "-o", tmp_path / "run", "--json", prelude=prelude)
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out) == json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    lines = outcome.err.splitlines()
    assert lines[-1] == "1 thread"
    log = (tmp_path / "run" / "train.log").read_text(encoding="utf-8").splitlines()
    assert set(lines[:-1]) <= {*log, "Measuring"} and any(line.startswith("epoch 1/1 loss") for line in lines)
