# SPDX-License-Identifier: Apache-2.0
"""The golden operators against CMSIS-NN's own C, bit for bit."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from acsgen.golden import operators
from tests.golden import cases
from tests.oracle import cmsis

DRAWS: dict[str, tuple[Callable[[np.random.Generator], cases.Case], int]] = {
    "avg_pool": (cases.avg_pool, 500),
    "conv2d": (cases.conv2d, 1000),
    "conv2d in 2 groups": (partial(cases.conv2d, groups=2), 300),
    "conv2d in 4 groups": (partial(cases.conv2d, groups=4), 300),
    "dense": (partial(cases.dense, per_tensor=True), 500),
    "depthwise_conv2d": (cases.depthwise_conv2d, 1000),
    "max_pool": (cases.max_pool, 500),
}


@pytest.mark.parametrize("kind", DRAWS)
def test_bits_equal(cmsis_nn: ctypes.CDLL, kind: str) -> None:
    draw, count = DRAWS[kind]
    for seed in range(count):
        case = draw(np.random.default_rng(seed))
        ours = operators.compute(case.op, case.values, case.sources, case.target)
        theirs = cmsis.compute(cmsis_nn, case.op, case.values, case.sources, case.target)
        np.testing.assert_array_equal(ours, theirs, err_msg=f"{kind}, seed {seed}: {case}")
