# SPDX-License-Identifier: Apache-2.0
"""Random graphs all the way: generated, built with the board's compiler, run in QEMU, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from acsgen.emit.calls import EMITTERS
from acsgen.emit.fit import CODE_MARGIN_BYTES, least_code_bytes
from acsgen.emit.project import generate
from acsgen.graph import DepthwiseConv2D
from acsgen.quantize import quantize
from acsgen.quantize.acsq import save_acsq
from acsgen.samples import Samples
from acsgen.target.boards import load_board
from acsgen.target.build import LOG_NAME, build
from acsgen.verify import verify
from tests.graphs import random_graph
from tests.plan.small import random_plan

CASES = [
    ("mps2-an386", 1006),
    ("mps2-an386", 1019),
    ("mps2-an386", 1101),
    ("mps2-an386", 1049),
    ("mps2-an386", 1053),
    ("stm32f405", 1006),
    ("stm32f405", 1049),
]


def test_these_graphs_use_every_kernel() -> None:
    """CMSIS-NN has a version of each for cores with SIMD, which the host does not run."""
    steps = [step for _, seed in CASES for step in random_plan(seed).steps]
    assert {step.kernel for step in steps} == set(EMITTERS)
    assert {(1, 1), (1, 3), (3, 3), (5, 5)} <= {s.op.kernel for s in steps if isinstance(s.op, DepthwiseConv2D)}
    assert any("signal" in random_graph(seed).scenes for _, seed in CASES)
    listed = {step.kernel for step in steps if step.active}
    assert {"conv", "conv_join", "depthwise", "avg_pool", "max_pool", "join"} <= listed
    assert {"table", "computed"} <= {step.closed for step in steps}
    assert any(step.before for step in steps) and any(step.when for step in steps)


@pytest.mark.parametrize(("board", "seed"), CASES)
def test_random_graph(tmp_path: Path, board: str, seed: int) -> None:
    drawn = random_graph(seed)
    model, project = tmp_path / "model.acsq", tmp_path / "project"
    save_acsq(quantize(drawn.graph, drawn.samples), model)
    generated = generate(model, load_board(board), project)
    built = build(project)
    assert 0 <= built.flash_bytes - generated.constant_bytes - least_code_bytes(generated.plan) < CODE_MARGIN_BYTES
    assert "warning" not in (project / ".pio" / LOG_NAME).read_text()
    result = verify(project, Samples(drawn.samples, None), tensors=4)
    assert result.ok, result.first_difference
    assert result.compared_tensors > 0
    assert result.distinct_masks > 1
