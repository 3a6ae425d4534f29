# SPDX-License-Identifier: Apache-2.0
"""`acsgen import`: what it prints, what it writes, and what it refuses before it reads anything."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import acsgen.frontend.torch as stage
from tests.cli.conftest import Run, in_a_process
from tests.frontend.authors_densenet import SMALL, save, small_network

#: Puts the small network in the place of the large one.
PRELUDE = """
import acsgen.frontend.torch as stage
from tests.frontend.authors_densenet import SMALL
stage.ARCHES = {"densenet40": SMALL}
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "acs.pth.tar"
    return save(path, small_network().state_dict(), parallel=True, arch="densenet121")


def test_a_process_of_its_own(checkpoint: Path, tmp_path: Path) -> None:
    """TensorFlow and PyTorch must be silent; only the warning is on stderr."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
    out = tmp_path / "net.keras"
    result = in_a_process("import", checkpoint, "-o", out, "--json", prelude=PRELUDE, env=environment)
    warning = f"acsgen: warning: {checkpoint} says that it is a 'densenet121', read as 'densenet40'\n"
    assert (result.code, result.err) == (0, warning)
    figures = json.loads(result.out)
    assert figures["output"] == str(out) and figures["input"] == [32, 32, 3] and figures["classes"] == 4
    assert list(figures["groups"]) == [f"{layer}_gate_{c}" for layer in ("b1_l2", "b2_l1") for c in ("conv2", "conv3")]
    assert [path.name for path in tmp_path.iterdir()] == ["net.keras"]


def test_table_and_force(checkpoint: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "ARCHES", {"densenet40": SMALL})
    out = tmp_path / "net.keras"
    out.write_text("an older one", encoding="utf-8")
    arguments = ("import", checkpoint, "-o", out, "--input", "40x36x3")
    assert run(*arguments).refusal == f"{out} exists: give another file, or --force to replace it"
    assert out.read_text(encoding="utf-8") == "an older one"
    result = run(*arguments, "--force")
    assert result.code == 0 and result.err.count("\n") == 1
    words = result.out.split()
    assert words[:3] == [str(checkpoint), "as", str(out)] and "40x36x3" in words
    assert "\nunused keys: counters of the batch normalisations " in result.out
    assert "\ngroups of b2_l1_gate_conv3 " in result.out
    assert out.read_bytes()[:2] == b"PK"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "net.h5"), "net.h5: a Keras checkpoint must be called .keras: give another name"),
        (
            ("-o", "net.acsq", "--force"),
            "net.acsq is not called .keras, --force does not replace it: give another name",
        ),
        (("-o", "no/net.keras"), "no/net.keras: there is no folder no: make it first"),
        (("-o", "net.keras", "--input", "32"), "input shape '32': give height, width and channels, such as 32x32x3"),
        (
            ("-o", "net.keras", "--arch", "resnet74"),
            "no architecture is called 'resnet74'; these are known: densenet40",
        ),
        (("-o", "net.keras"), "nowhere.pth.tar: no such file"),
    ],
)
def test_refusals(
    arguments: tuple[str, ...], message: str, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.acsq").write_text("mine", encoding="utf-8")
    assert run("import", "nowhere.pth.tar", *arguments).refusal == message
    assert [path.name for path in tmp_path.iterdir()] == ["net.acsq"]
    assert Path("net.acsq").read_text(encoding="utf-8") == "mine"
