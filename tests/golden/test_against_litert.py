# SPDX-License-Identifier: Apache-2.0
"""The golden operators against LiteRT's reference kernels, bit for bit.

LiteRT's FULLY_CONNECTED is the one reference kernel that leaves the integers: since TensorFlow 2.20
it requantises with round(acc * scale) in float (google-ai-edge/LiteRT#8567), where all the others,
and CMSIS-NN's arm_fully_connected_s8, round twice. It can only judge dense layers whose multipliers
are 1/2 or more, as these have no second rounding; CONV_2D judges the others.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from acsgen.golden import operators
from tests.golden import cases
from tests.oracle import litert

DRAWS: dict[str, tuple[Callable[[np.random.Generator], cases.Case], int]] = {
    "add": (cases.add, 1000),
    "add, all pairs": (cases.add_all_pairs, 50),
    "avg_pool": (cases.avg_pool, 1000),
    "concatenate": (cases.concatenate, 500),
    "conv2d": (cases.conv2d, 1500),
    "conv2d in 2 groups": (partial(cases.conv2d, groups=2), 500),
    "conv2d in 4 groups": (partial(cases.conv2d, groups=4), 500),
    "dense, large multipliers": (partial(cases.dense, regime="large"), 500),
    "dense, large multipliers, one scale": (partial(cases.dense, regime="large", per_tensor=True), 500),
    "depthwise_conv2d": (cases.depthwise_conv2d, 1500),
    "max_pool": (cases.max_pool, 800),
    "pad": (cases.pad, 500),
    "relu": (cases.relu, 500),
    "relu6 at ties": (cases.relu6_at_ties, 500),
}


@pytest.mark.parametrize("kind", DRAWS)
def test_bits_equal(kind: str) -> None:
    draw, count = DRAWS[kind]
    for seed in range(count):
        case = draw(np.random.default_rng(seed))
        ours = operators.compute(case.op, case.values, case.sources, case.target)
        theirs = litert.compute(case.op, case.values, case.sources, case.target, case.weight_scales)
        np.testing.assert_array_equal(ours, theirs, err_msg=f"{kind}, seed {seed}: {case}")


@pytest.mark.parametrize("per_tensor", [False, True])
def test_dense_is_a_convolution_of_one_pixel(per_tensor: bool) -> None:
    for seed in range(1000):
        case = cases.dense(np.random.default_rng(seed), per_tensor)
        ours = operators.compute(case.op, case.values, case.sources, case.target)
        pixel = cases.as_convolution(case)
        theirs = litert.compute(pixel.op, pixel.values, pixel.sources, pixel.target, pixel.weight_scales)
        np.testing.assert_array_equal(ours, theirs[:, 0, 0], err_msg=f"seed {seed}: {case}")
