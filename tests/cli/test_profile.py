# SPDX-License-Identifier: Apache-2.0
"""`acsgen profile`: table, JSON, inputs, refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from acsgen.errors import AcsgenError
from acsgen.samples import read_samples
from tests.cli.conftest import Run
from tests.models import INPUT_SHAPE, write_samples


def test_profile(run: Run, built: Path, samples: Path, tmp_path: Path) -> None:
    result = run("profile", built, "--inputs", samples, "--images", "2", "--json")
    assert (result.code, result.err) == (0, "")
    figures = json.loads(result.out)
    assert (figures["inputs"], figures["engine"], figures["mode"], figures["cycles_are"]) == (
        2,
        "qemu",
        "skip",
        "modelled",
    )
    assert figures["flash"]["hertz"] == 168_000_000
    steps = json.loads((built / "plan.json").read_text())["steps"]
    assert [(layer["layer"], layer["kernel"]) for layer in figures["layers"]] == [(s["op"], s["kernel"]) for s in steps]
    for key in ("instructions", "cycles"):
        parts = [part[key] for part in (*figures["layers"], figures["between"])]
        assert sum(parts) == pytest.approx(figures["total"][key])
    conv = figures["layers"][0]
    assert conv["ipm"] == conv["instructions"] / conv["macs"] > 1
    assert conv["cycles"] == conv["cycles_core"] + conv["cycles_fetch"] + conv["cycles_data"] > conv["instructions"]

    npy = tmp_path / "x.npy"
    with np.load(samples) as file:
        np.save(npy, file["x"])
    assert run("profile", built, "--inputs", npy, "--images", "2", "--json").out == result.out
    opened = json.loads(run("profile", built, "--inputs", npy, "--images", "2", "--open", "--json").out)
    assert opened["mode"] == "open" and opened["total"]["macs"] > figures["total"]["macs"]


def test_profile_as_a_table(run: Run, built: Path) -> None:
    table = run("profile", built).out
    lines = table.splitlines()
    assert lines[0] == f"{built}: net on stm32f405, kernels cmsis_nn, 1 input, qemu"
    assert lines[1].split() == [
        "layer",
        "kernel",
        "MACs",
        "instructions",
        "i/MAC",
        "cycles",
        "c/MAC",
        "waiting",
        "mostly",
        "in",
    ]
    assert "Cycles are modelled: Cortex-M4, from Arm's Cortex-M4 TRM" in table
    assert "Flash: 128 bits, 5 wait states, prefetch, caches of 1024 bytes (code) and 128 bytes (data)." in table
    assert "At 168 MHz that is " in table
    other = run("profile", built, "--engine", "unicorn", "--flash", "mps2-an386").out
    assert ", unicorn\n" in other and "Memory answers at once" in other and "MHz" not in other


def test_listing_of_a_function(run: Run, built: Path) -> None:
    lines = run("profile", built, "--listing", "acs_clamp_s8").out.splitlines()
    assert lines[0] == "acs_clamp_s8: cycles are modelled"
    assert lines[1].split() == ["address", "times", "cycles", "waiting"]
    assert any(line.endswith("[r3, #1]!") for line in lines), "brackets are no markup"
    as_json = json.loads(run("profile", built, "--listing", "acs_clamp_s8", "--json").out)
    assert len(as_json) == len(lines) - 2 and as_json[0]["cost"]["instructions"] > 0
    assert "nothing was executed in a function 'clamp'" in run("profile", built, "--listing", "clamp").refusal


def test_refusals(run: Run, built: Path, samples: Path, tmp_path: Path) -> None:
    assert run("profile", tmp_path / "nowhere").refusal == (
        f"{tmp_path / 'nowhere'}: no project of acsgen's (acsgen.json is missing): acsgen generate makes one"
    )
    assert (
        run("profile", built, "--engine", "renode").refusal == "no engine is called 'renode': there are qemu, unicorn"
    )
    assert run("profile", built, "--flash", "stm32f406").refusal == (
        "no board is called 'stm32f406'; did you mean stm32f405?"
    )
    nowhere = tmp_path / "x.npy"
    assert run("profile", built, "--inputs", nowhere).refusal == f"{nowhere}: no such file"
    nowhere.write_bytes(b"hello")
    assert run("profile", built, "--inputs", nowhere).refusal.startswith(f"{nowhere}: no .npz file of samples")
    np.save(nowhere, np.zeros((2, *INPUT_SHAPE[:2])))
    assert "'x' has shape (2, 6, 6), the model needs (N, 6, 6, 4)" in run("profile", built, "--inputs", nowhere).refusal
    copy = tmp_path / "copy"
    shutil.copytree(built, copy, ignore=shutil.ignore_patterns(".pio"))
    assert run("profile", copy).refusal == f"{copy}: is not built: acsgen build {copy}"
    (copy / "plan.json").write_text("{}")
    message = f"{copy}/plan.json: not the file that this project was generated with: generate it again"
    assert run("profile", copy).refusal == message


def test_samples_as_npy_and_npz_agree(tmp_path: Path) -> None:
    """`--data` of the other commands takes both as well."""
    samples = write_samples(tmp_path / "samples.npz")
    with np.load(samples) as file:
        np.save(tmp_path / "x.npy", file["x"])
    read = read_samples(tmp_path / "x.npy")
    np.testing.assert_array_equal(read.x, read_samples(samples).x)
    assert read.y is None
    np.save(tmp_path / "o.npy", np.array([None]), allow_pickle=True)
    with pytest.raises(AcsgenError, match=r"no \.npz file of samples"):
        read_samples(tmp_path / "o.npy")
