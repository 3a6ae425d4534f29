# SPDX-License-Identifier: Apache-2.0
"""The bench of copies counts those of masked tensors, and nothing where there are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from acsgen.nn.zoo import ZOO
from bench.copies import measure
from bench.networks import Network


def _resnet(gated: bool) -> Any:
    return ZOO["acs_resnet"].build(input_shape=(8, 8, 3), stem=8, widths=(8,), strides=(1,), gated=gated)


def test_what_is_copied_is_a_part_of_the_run(tmp_path: Path) -> None:
    gated, plain = (
        measure(Network("small", "channel", lambda gated=gated: _resnet(gated)), tmp_path / str(gated))
        for gated in (True, False)
    )
    assert 0 < gated.copying < gated.instructions / 2
    assert plain.copying == 0
    assert gated.macs > plain.macs > 0
