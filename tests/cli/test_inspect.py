# SPDX-License-Identifier: Apache-2.0
"""What `acsgen inspect` counts, measures and warns of; MACs counted by hand."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from acsgen.golden import quantize_input
from acsgen.golden import run as run_golden
from acsgen.graph import Graph
from acsgen.graph.evaluate import evaluate
from acsgen.plan import plan
from acsgen.quantize import prepare, quantize
from acsgen.quantize.acsq import load_acsq, save_acsq
from acsgen.report.advice import advice
from acsgen.report.inspect import GateCost, GateUse, Inspection, inspect
from acsgen.report.inspect_tables import inspection_tables
from acsgen.resources import resource_dir
from tests.cli.conftest import Run
from tests.graphs import Builder

#: Of `network`, by hand: 6x6 pixels of 4 channels.
FIRST = 36 * 9 * 4 * 8
LAST = 36 * 9 * 8 * 4
POOLED = 4 * 3
HEAD = 4 * 2


def fixed_gate(b: Builder, bias: list[float], slope: float = 0.0) -> str:
    """A gate whose bit g is open where bias[g] + slope * (mean of input channel 0) > 0."""
    weights = np.zeros((len(bias), 4), np.float32)
    weights[:, 0] = slope
    return b.gate_on(b.logits(b.features("x"), weights, np.array(bias, np.float32)))


def network(bias: list[float], slope: float = 0.0) -> Graph:
    """3x3 to 8 channels, masked by a gate; 3x3 to 4 channels, pooled to 2 logits."""
    b = Builder(np.random.default_rng(0), (6, 6, 4))
    masked = b.mask(b.conv("x", 8), fixed_gate(b, bias, slope))
    return prepare(b.graph(b.dense(b.features(b.conv(masked, 4)), 2)))


def brightness(*values: float) -> NDArray[np.float32]:
    """Samples of which channel 0 has these means."""
    x = np.random.default_rng(1).normal(size=(len(values), 6, 6, 4)).astype(np.float32)
    x[..., 0] = np.array(values)[:, None, None]
    return x


def kinds(inspection: Inspection) -> list[tuple[str, str]]:
    return [(entry.kind, entry.where) for entry in advice(inspection)]


def use_of(gate: GateCost) -> GateUse:
    assert gate.use is not None
    return gate.use


# --- counted by hand -------------------------------------------------------------------------------


def test_structure() -> None:
    found = inspect(network([1.0, -1.0, 1.0, 1.0]))
    (gate,) = found.gates
    name = gate.gate
    cost = 4 * 4
    assert (found.macs, found.skippable, found.overhead) == (FIRST + LAST + cost + HEAD, FIRST + LAST, cost)
    assert (found.samples, found.executed, gate.use) == (None, None, None)
    assert (gate.bits, gate.controls, gate.cost) == (4, FIRST + LAST, cost)
    rows = [(op.kind, op.macs, op.skippable, op.skipped_by, op.only_for) for op in found.operators]
    assert rows == [
        ("Conv2D", FIRST, FIRST, (name,), ()),
        ("AvgPool", 0, 0, (), (name,)),
        ("Flatten", 0, 0, (), (name,)),
        ("Dense", cost, 0, (), (name,)),
        ("Gate", 0, 0, (), (name,)),
        ("ApplyMask", 0, 0, (), ()),
        ("Conv2D", LAST, LAST, (name,), ()),
        ("AvgPool", 0, 0, (), ()),
        ("Flatten", 0, 0, (), ()),
        ("Dense", HEAD, 0, (), ()),
    ]
    assert [op.shape for op in found.operators[:4]] == [(6, 6, 8), (1, 1, 4), (4,), (4,)]
    assert advice(found) == ()


def test_measured() -> None:
    """Of 40 samples 30 are dark: with these two bits of four are open, with the others three."""
    found = inspect(network([5.0, -5.0, 5.0, 0.0], slope=1.0), brightness(*[-1.0] * 30, *[1.0] * 10))
    use = use_of(found.gates[0])
    skippable = FIRST + LAST
    fixed = 16 + HEAD
    dark, bright = fixed + skippable // 2, fixed + skippable * 3 // 4
    assert found.executed is not None
    assert (found.executed.mean, found.executed.least, found.executed.most) == ((3 * dark + bright) / 4, dark, bright)
    assert sum(op.executed or 0 for op in found.operators) == found.executed.mean
    assert (use.density, use.least_used, use.most_used, use.dynamic) == (0.5625, 0, 1, 0.25)
    assert (use.always_open, use.never_open, use.distinct_masks) == (2, 1, 2)
    assert (use.cost, use.saved, use.net) == (16, skippable * 0.4375, skippable * 0.4375 - 16)
    assert kinds(found) == [("constant_bits", found.gates[0].gate)]
    (entry,) = advice(found)
    assert entry.text.endswith("of 4 bits, over 40 samples, always open: 2, never open: 1")


@pytest.mark.parametrize(("often", "dynamic"), [(1, 0.0), (2, 1.0), (38, 1.0), (39, 0.0)])
def test_dynamic_from_5_to_95_percent(often: int, dynamic: float) -> None:
    x = brightness(*[1.0] * often, *[-1.0] * (40 - often))
    assert use_of(inspect(network([0.0], slope=1.0), x).gates[0]).dynamic == dynamic


def test_progress() -> None:
    done: list[int] = []
    inspect(network([0.0], slope=1.0), brightness(*[1.0] * 120), done.append)
    assert sum(done) == 120 and len(done) > 1


def test_two_gates_on_one_convolution() -> None:
    """What either would have saved alone counts for neither; what only both need costs neither."""
    b = Builder(np.random.default_rng(0), (6, 6, 4))
    shared = b.dense(b.features("x"), 3)
    weights = np.zeros((2, 3), np.float32)
    half = b.gate_on(b.logits(shared, weights, np.array([1, -1], np.float32)))
    quarter = b.gate_on(b.logits(shared, np.zeros((4, 3), np.float32), np.array([1, -1, -1, -1], np.float32)))
    between = b.mask(b.conv(b.mask(b.conv("x", 8), half), 8), quarter)
    found = inspect(prepare(b.graph(b.conv(between, 4))), brightness(*[0.0] * 32))
    one, middle, last = FIRST, 36 * 9 * 8 * 8, LAST
    by_name = {gate.gate: gate for gate in found.gates}
    assert found.overhead == POOLED + 3 * 2 + 3 * 4
    assert (by_name[half].cost, by_name[quarter].cost) == (3 * 2, 3 * 4)
    assert [op.only_for for op in found.operators if op.name == shared] == [(half, quarter)]
    # Where the second closes everything the first, 3 * 2, is not asked either.
    assert (by_name[half].controls, by_name[quarter].controls) == (one + middle, middle + last + 3 * 2)
    assert use_of(by_name[half]).saved == one / 2 + middle / 8
    assert use_of(by_name[quarter]).saved == last * 3 / 4 + middle * 3 / 8
    (crossed,) = [op for op in found.operators if len(op.skipped_by) == 2]
    assert set(crossed.skipped_by) == {half, quarter}
    assert (crossed.macs, crossed.executed) == (middle, middle / 8)


def test_a_gate_behind_another_gate() -> None:
    """What it looks at is skipped by the first: its cost on average is less than with all open."""
    b = Builder(np.random.default_rng(0), (6, 6, 4))
    first = fixed_gate(b, [1.0, -1.0])
    inner = b.mask(b.conv("x", 8), first)
    looked = b.features(b.conv(inner, 2, activation="relu"))  # not linear: it is not collapsed
    second = b.gate_on(b.logits(looked, np.ones((4, 2), np.float32), np.ones(4, np.float32)))
    found = inspect(prepare(b.graph(b.conv(b.mask(b.conv("x", 8), second), 4))), brightness(*[0.0] * 32))
    by_name = {gate.gate: gate for gate in found.gates}
    own = 36 * 9 * 8 * 2 + 2 * 4
    assert by_name[second].cost == FIRST + own
    assert use_of(by_name[second]).cost == (FIRST + 36 * 9 * 8 * 2) / 2 + 2 * 4
    assert by_name[first].cost == 4 * 2


@pytest.mark.parametrize("int8", [False, True])
def test_masks_are_those_of_the_interpreters(int8: bool) -> None:
    """Of a network that nobody thought out: executed MACs by the masks of a single run over all samples."""
    b = Builder(np.random.default_rng(4), (6, 6, 4))
    masked = b.mask(b.conv("x", 8), b.gate("x", 4))
    built = b.graph(b.dense(b.features(b.mask(b.conv(masked, 8), b.gate(masked, 2))), 2))
    x = np.repeat(b.samples, 5, axis=0)
    graph = quantize(built, b.samples) if int8 else prepare(built)
    values = run_golden(graph, quantize_input(graph, x)) if int8 else evaluate(graph, x)
    masks = {gate.output: values[gate.output] for gate in graph.gates}
    found = inspect(graph, x)
    macs = plan(graph).macs(masks)
    assert found.executed is not None and found.is_int8 is int8
    assert (found.executed.mean, found.executed.least, found.executed.most) == (macs.mean(), macs.min(), macs.max())
    assert found.executed.least < found.executed.most
    assert {g.gate: use_of(g).density for g in found.gates} == {name: mask.mean() for name, mask in masks.items()}


# --- warnings --------------------------------------------------------------------------------------


def test_a_gate_that_never_changes_its_mind() -> None:
    found = inspect(network([1.0, -1.0]), brightness(*[0.0] * 32))
    assert kinds(found) == [("constant_gate", found.gates[0].gate)]
    (entry,) = advice(found)
    assert "never changes its mind over 32 samples (1 of 2 bits open)" in entry.text


def test_an_open_gate_does_not_pay() -> None:
    found = inspect(network([1.0, 1.0]), brightness(*[0.0] * 32))
    name = found.gates[0].gate
    assert kinds(found) == [("constant_gate", name), ("nearly_open", name), ("costs_more", name)]
    assert use_of(found.gates[0]).net == -found.gates[0].cost == -8
    assert advice(found)[1].text == f"gate '{name}' is open at 100.0 % on average: it hardly skips"


def test_nearly_open_is_above_95_percent() -> None:
    for dark, warned in ((2, False), (1, True)):
        found = inspect(network([0.0], slope=1.0), brightness(*[-1.0] * dark, *[1.0] * (40 - dark)))
        assert ("nearly_open" in dict(kinds(found))) is warned


def costly() -> Graph:
    """A 3x3 convolution of 4 channels for a gate over a 1x1 convolution to 2."""
    b = Builder(np.random.default_rng(0), (6, 6, 4))
    looked = b.features(b.conv("x", 4, activation="relu"))  # not linear: it is not collapsed
    gate = b.gate_on(b.logits(looked, np.ones((2, 4), np.float32), np.zeros(2, np.float32)))
    return prepare(b.graph(b.features(b.mask(b.conv("x", 2, (1, 1)), gate))))


def test_a_gate_that_costs_more_than_it_saves() -> None:
    cost, controls = 36 * 9 * 4 * 4 + 4 * 2, 36 * 4 * 2
    found = inspect(costly())
    assert (found.gates[0].cost, found.gates[0].controls) == (cost, controls)
    (entry,) = advice(found)
    assert entry.kind == "never_pays"
    assert entry.text.endswith(f"costs {cost:,} MACs and can save at most {controls:,}: it never pays")
    measured = inspect(costly(), brightness(*np.linspace(-3, 3, 40)))
    use = use_of(measured.gates[0])
    assert use.net == use.saved - cost < 0
    entry = next(entry for entry in advice(measured) if entry.kind == "costs_more")
    assert entry.text.endswith(f"costs {cost:,} MACs a run and saves {use.saved:,.0f}: it does not pay")


def test_a_mask_that_saves_nothing() -> None:
    """Its gate looks at what it masks: only behind it something is skipped."""
    b = Builder(np.random.default_rng(0), (6, 6, 4))
    conv = b.conv("x", 8)
    mask = b.mask(conv, b.gate(conv, 4))
    found = inspect(prepare(b.graph(b.conv(mask, 4))))
    assert found.idle_masks == (mask,) and kinds(found) == [("idle_mask", mask)]
    assert [op.skipped_by for op in found.operators if op.name == conv] == [()]
    assert found.skippable == LAST


def test_few_samples_prove_nothing() -> None:
    found = inspect(network([1.0, -1.0]), brightness(0.0))
    assert kinds(found) == [("few_samples", "")]
    assert advice(found)[0].text.startswith("1 sample: too few")


def test_no_gates() -> None:
    b = Builder(np.random.default_rng(0), (6, 6, 4))
    graph = prepare(b.graph(b.conv("x", 8)))
    found = inspect(graph, brightness(0.0, 1.0))
    assert found.executed is not None
    assert (found.macs, found.executed.mean, found.executed.least) == (FIRST, FIRST, FIRST)
    assert (found.gates, found.skippable, advice(found)) == ((), 0, ())


# --- the command -----------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(graph: Graph, x: NDArray[np.float32]) -> None:
    """model.acsq and samples.npz here."""
    save_acsq(quantize(graph, x), Path("model.acsq"))
    np.savez("samples.npz", x=x)


def test_json(here: Path, run: Run) -> None:
    save(network([5.0, -5.0, 5.0, 0.0], slope=1.0), brightness(*[-1.0] * 30, *[1.0] * 10))
    result = run("inspect", "model.acsq", "--data", "samples.npz", "--json")
    assert (result.code, result.err) == (0, "")
    found = json.loads(result.out)
    assert set(found) == {
        "name", "is_int8", "input_shape", "macs", "skippable", "overhead", "operators", "gates", "idle_masks",
        "samples", "executed", "warnings",
    }  # fmt: skip
    assert set(found["operators"][0]) == {
        "name", "kind", "shape", "macs", "skippable", "skipped_by", "only_for", "executed",
    }  # fmt: skip
    (gate,) = found["gates"]
    assert set(gate) == {"gate", "bits", "controls", "cost", "use"}
    assert set(gate["use"]) == {
        "density", "least_used", "most_used", "dynamic", "always_open", "never_open", "distinct_masks", "cost",
        "saved", "net",
    }  # fmt: skip
    assert (found["is_int8"], found["samples"], found["input_shape"]) == (True, 40, [6, 6, 4])
    assert found["executed"]["mean"] == 16 + HEAD + (FIRST + LAST) * 0.5625
    assert gate["use"]["saved"] == (FIRST + LAST) * 0.4375
    assert [(w["kind"], w["where"]) for w in found["warnings"]] == [("constant_bits", gate["gate"])]
    static = json.loads(run("inspect", "model.acsq", "--json").out)
    assert (static["samples"], static["executed"], static["gates"][0]["use"]) == (None, None, None)
    assert static["macs"] == load_acsq(Path("model.acsq")).macs()


def test_tables_and_warnings(here: Path, run: Run) -> None:
    save(network([5.0, -5.0, 5.0, 0.0], slope=1.0), brightness(*[-1.0] * 30, *[1.0] * 10))
    result = run("inspect", "model.acsq", "--data", "samples.npz")
    (gate,) = load_acsq(Path("model.acsq")).gates
    assert result.code == 0
    assert result.err == (
        f"acsgen: warning: gate '{gate.output}': of 4 bits, over 40 samples, always open: 2, never open: 1\n"
    )
    lines = [" ".join(line.split()) for line in result.out.splitlines()]
    mean = (FIRST + LAST) * 9 // 16
    assert f"{gate.output} 4 {FIRST + LAST:,} 16 {(FIRST + LAST) * 0.4375:,.0f} {9056:,}" in lines
    assert f"{gate.output} 56.25 % 0.00 % 100.00 % 25.00 % 2 1 2" in lines
    assert f"conv2d0 Conv2D 6x6x8 {FIRST:,} {FIRST:,} {FIRST * 9 // 16:,} {gate.output}" in lines
    share = (16 + HEAD + mean) / (16 + HEAD + FIRST + LAST)
    assert f"MACs executed, mean {16 + HEAD + mean:,} ({100 * share:.2f} %)" in lines
    assert not [line for line in lines if "--data" in line]


def test_without_samples_it_says_what_is_missing(here: Path, run: Run) -> None:
    save(network([0.0], slope=1.0), brightness(-1.0, 1.0))
    result = run("inspect", "model.acsq")
    assert (result.code, result.err) == (0, "")
    assert result.out.endswith("How often the gates are open, and what they save, needs samples: --data FILE\n")
    assert "executed" not in result.out and "density" not in result.out


def test_without_gates(here: Path, run: Run) -> None:
    b = Builder(np.random.default_rng(0), (6, 6, 4))
    save(b.graph(b.conv("x", 8)), b.samples)
    assert run("inspect", "model.acsq").out.endswith("No gates: nothing is skipped.\n")


def test_tables_at_80_columns() -> None:
    found = inspect(network([5.0, -5.0, 5.0, 0.0], slope=1.0), brightness(*[-1.0] * 30, *[1.0] * 10))
    text = io.StringIO()
    Console(file=text, width=80).print(inspection_tables(found))
    assert max(map(len, text.getvalue().splitlines())) <= 80 and "…" not in text.getvalue()
    for figure in (FIRST, LAST, found.macs):
        assert f"{figure:,}" in text.getvalue()


def no_checkpoint(path: Path) -> Graph:
    pytest.fail("loads TensorFlow")


def write_nan(path: Path) -> None:
    np.savez(path, x=np.full((2, 6, 6, 4), np.nan))


def write_wrong_shape(path: Path) -> None:
    np.savez(path, x=np.zeros((2, 3), np.float32))


@pytest.mark.parametrize(
    ("network_name", "write", "message"),
    [
        ("net.h5", None, "net.h5: inspected are a .keras checkpoint or an .acsq file: give one of these"),
        ("gone.acsq", None, "gone.acsq: "),
        ("net.keras", write_nan, "samples.npz: NaN or infinity in 2 of 2 samples, first in sample 0"),
        ("model.acsq", write_wrong_shape, "samples.npz: 'x' has shape (2, 3), the model needs (N, 6, 6, 4)"),
    ],
)
def test_refusals(
    network_name: str,
    write: Callable[[Path], Any] | None,
    message: str,
    here: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("acsgen.frontend.keras.load_keras", no_checkpoint)
    save(network([0.0], slope=1.0), brightness(-1.0, 1.0))
    options = []
    if write is not None:
        write(Path("samples.npz"))
        options = ["--data", "samples.npz"]
    assert run("inspect", network_name, *options).refusal.startswith(message)


def test_samples_that_overflow(here: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison with NaN would pass for a closed gate."""
    monkeypatch.setattr("acsgen.frontend.keras.load_keras", lambda path: network([0.0], slope=1.0))
    x = brightness(*[1.0] * 60)
    x[57] = 3e38
    np.savez("samples.npz", x=x)
    refusal = run("inspect", "net.keras", "--data", "samples.npz").refusal
    assert refusal.endswith("becomes NaN or infinite on sample 57: are the samples scaled as in training?")


# --- the demo's network ----------------------------------------------------------------------------


def test_the_demo_network(run: Run) -> None:
    """From the checkpoint, near to what its training measured on other images; tests/demo has the firmware's MACs."""
    demo = resource_dir("demo")
    result = run("inspect", demo / "fashion_acs.keras", "--data", demo / "calibration.npz", "--json")
    found = json.loads(result.out)
    report = json.loads((demo / "report.json").read_text(encoding="utf-8"))["test"]
    assert found["samples"] == 200 and not found["is_int8"] and not found["idle_masks"]
    assert found["macs"] - found["overhead"] == report["dense"]["macs_mean"]
    assert found["macs"] == report["gated"]["macs_dense"]
    assert found["skippable"] > 0.9 * found["macs"]
    assert abs(found["executed"]["mean"] / report["gated"]["macs_mean"] - 1) < 0.05
    assert len(found["gates"]) == 4 and all(gate["use"]["net"] > 0 for gate in found["gates"])
