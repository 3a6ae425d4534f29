# SPDX-License-Identifier: Apache-2.0
"""`verify` is worth what it catches: each test breaks a firmware in one place."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from acsgen.emit.project import generate
from acsgen.golden import UNDECIDED, quantize_input
from acsgen.plan.document import read_plan
from acsgen.quantize import quantize
from acsgen.quantize.acsq import load_acsq, save_acsq
from acsgen.samples import Samples
from acsgen.target.boards import load_board
from acsgen.target.build import build
from acsgen.target.link import RunMode
from acsgen.verify import Verification, verify
from acsgen.verify.firmware import open_firmware
from tests.graphs import Builder, quantize_with_logits


@pytest.fixture(scope="module")
def samples() -> Samples:
    return Samples(np.random.default_rng(7).normal(size=(12, 8, 8, 4)).astype(np.float32), None)


def gated_model(path: Path, samples: Samples) -> Path:
    """A gated pair of convolutions: the first skips outputs, the second the same inputs."""
    b = Builder(np.random.default_rng(11), (8, 8, 4), "pair")
    gate = b.gate("x", 4)
    inside = b.mask(b.conv("x", 16, activation="relu"), gate)
    graph = b.graph(b.dense(b.flatten(b.global_pool(b.conv(inside, 8))), 5))
    save_acsq(quantize_with_logits(graph, samples.x), path)
    return path


@pytest.fixture
def project(tmp_path: Path, samples: Samples) -> Path:
    model = gated_model(tmp_path / "pair.acsq", samples)
    return generate(model, load_board("mps2-an386"), tmp_path / "project").path


def rebuilt(project: Path, samples: Samples) -> Verification:
    build(project)
    return verify(project, samples, tensors=3)


def replace_once(path: Path, pattern: str, replacement: str) -> None:
    text, count = re.subn(pattern, replacement, path.read_text(encoding="utf-8"), count=1)
    assert count == 1, f"{pattern} is not in {path}"
    path.write_text(text, encoding="utf-8")


def test_right_firmware(project: Path, samples: Samples) -> None:
    result = rebuilt(project, samples)
    assert result.ok and result.first_difference is None
    assert (result.samples, result.tensor_samples) == (12, 3)
    assert result.distinct_masks > 1
    assert result.macs_gated.min() < result.macs_gated.max() <= result.macs_dense
    # Fewer multiply-accumulates are fewer instructions, image by image, except for equal ones.
    order = np.argsort(result.macs_gated, kind="stable")
    steps = np.diff(result.macs_gated[order]) > 0
    assert (np.diff(result.instructions_gated[order])[steps] > 0).all()


def test_counts_repeat_exactly(project: Path, samples: Samples) -> None:
    first, second = rebuilt(project, samples), verify(project, samples, tensors=0)
    np.testing.assert_array_equal(first.instructions_gated, second.instructions_gated)
    np.testing.assert_array_equal(first.instructions_dense, second.instructions_dense)


def test_wrong_weight(project: Path, samples: Samples) -> None:
    replace_once(project / "lib/model/pair_weights.c", r"(weights\[\d+\] = \{\n    )-?\d+,", r"\g<1>99,")
    result = rebuilt(project, samples)
    assert not result.ok
    assert result.mismatched_tensors > 0
    assert result.first_difference is not None and "tensor dense" in result.first_difference


def test_wrong_threshold(project: Path, samples: Samples) -> None:
    replace_once(project / "lib/acs/acs_lists.c", r"return logit > zero_point;", "return logit >= zero_point - 100;")
    assert rebuilt(project, samples).mismatched_masks > 0


def test_masks_of_open_gates(project: Path, samples: Samples) -> None:
    """Every other run is right, and so is the output of this one."""
    replace_once(
        project / "lib/acs/acs_lists.c",
        r"(open\[g\] = )(decide\(.*\)) \? 1u : 0u;",
        r"\1\2 ? (mode == ACS_OPEN ? 2u : 1u) : 0u;",
    )
    result = rebuilt(project, samples)
    assert (result.mismatched_logits, result.mismatched_tensors) == (0, 0)
    assert result.mismatched_masks == 12 and not result.ok
    assert result.first_difference is not None
    assert result.first_difference.startswith("sample 0, gates open: mask ")


def test_skipping_what_is_needed(project: Path, samples: Samples) -> None:
    """The last active group is left out: only the overwritten arena makes this show on every image."""
    replace_once(
        project / "lib/acs/acs_lists.c",
        r"return \(uint16_t\)\(list->count \* \(groups / list->groups\)\);",
        "return (uint16_t)((list->count > 1 ? list->count - 1 : list->count) * (groups / list->groups));",
    )
    result = rebuilt(project, samples)
    assert result.mismatched_logits > 0


def test_a_closed_group_that_is_not_cleared(project: Path, samples: Samples) -> None:
    """Multiplying by the mask is the proof for skipping, so it must itself be checked."""
    replace_once(project / "lib/acs/acs_lists.c", r"memset\(output", "(void)memcpy; if (fill && !fill) memset(output")
    assert rebuilt(project, samples).mismatched_tensors > 0


def test_observer_order(project: Path, samples: Samples) -> None:
    replace_once(project / "lib/model/pair.c", r"observe\(observer, 0,", "observe(observer, 1,")
    assert rebuilt(project, samples).mismatched_tensors > 0


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory, samples: Samples) -> Path:
    """A project whose first gate is not asked where the second closes its only group."""
    b = Builder(np.random.default_rng(11), (8, 8, 4), "waiting")
    look = b.conv("x", 16, activation="relu")
    first = b.mask(b.conv("x", 16), b.gate(look, 4))
    output = b.add("x", b.conv(b.mask(b.conv(first, 8), b.gate("x", 1)), 4))
    folder = tmp_path_factory.mktemp("waiting")
    save_acsq(quantize(b.graph(output), b.samples), folder / "waiting.acsq")
    generate(folder / "waiting.acsq", load_board("mps2-an386"), folder / "project")
    build(folder / "project")
    return folder / "project"


def test_a_gate_that_nobody_asks(waiting: Path, samples: Samples) -> None:
    """It tells so, and neither it nor the convolution before it takes more than the question."""
    graph, seen = load_acsq(waiting / "model.acsq"), read_plan(waiting / "plan.json")
    result = verify(waiting, samples)
    assert result.ok
    first, second = (gate.output for gate in graph.gates)
    unasked = ~result.masks[second].any(axis=1)
    assert 0 < unasked.sum() < len(unasked)
    np.testing.assert_array_equal((result.masks[first] == UNDECIDED).all(axis=1), unasked)
    assert (result.masks[first][~unasked] <= 1).all()
    (mask_step,) = (step.index for step in seen.observed if step.tensor == first)
    leading = [step.index for step in seen.observed if step.tensor == graph.ops[0].output] + [mask_step]
    x = quantize_input(graph, samples.x)
    with open_firmware(waiting) as firmware:
        left, asked = unasked.argmax(), unasked.argmin()
        less, more = (firmware.run(x[i], RunMode.SKIP, steps=True).steps for i in (left, asked))
        # A run by the masks that a run has told comes to the same.
        told = np.concatenate([result.masks[gate][left] for gate in (first, second)])
        again = firmware.run(x[left], RunMode.GIVEN, masks=told)
    assert again.masks.tolist() == [UNDECIDED] * 4 + [0]
    assert 50 * sum(less[index] for index in leading) < sum(more[index] for index in leading)


@pytest.mark.parametrize("condition", ["true", "false"])
def test_asked_without_need_or_not_at_all(waiting: Path, tmp_path: Path, samples: Samples, condition: str) -> None:
    """A firmware that decides too much is as wrong as one that decides too little."""
    project = Path(shutil.copytree(waiting, tmp_path / "project"))
    replace_once(project / "lib/model/waiting.c", r"\(gate\w*\.active\.count > 0\)\s+\?", f"{condition} ?")
    result = rebuilt(project, samples)
    assert result.mismatched_masks > 0 and not result.ok
