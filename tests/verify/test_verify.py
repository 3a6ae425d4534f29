# SPDX-License-Identifier: Apache-2.0
"""`verify` is worth what it catches: each test breaks a firmware in one place."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from acsgen.emit.project import generate
from acsgen.quantize import quantize
from acsgen.quantize.acsq import save_acsq
from acsgen.samples import Samples
from acsgen.target.boards import load_board
from acsgen.target.build import build
from acsgen.verify import Verification, verify
from tests.graphs import Builder


@pytest.fixture(scope="module")
def samples() -> Samples:
    return Samples(np.random.default_rng(7).normal(size=(12, 8, 8, 4)).astype(np.float32), None)


def gated_model(path: Path, samples: Samples) -> Path:
    """A gated pair of convolutions: the first skips outputs, the second the same inputs."""
    b = Builder(np.random.default_rng(11), (8, 8, 4), "pair")
    gate = b.gate("x", 4)
    inside = b.mask(b.conv("x", 16, activation="relu"), gate)
    graph = b.graph(b.dense(b.flatten(b.global_pool(b.conv(inside, 8))), 5))
    save_acsq(quantize(graph, samples.x), path)
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
