# SPDX-License-Identifier: Apache-2.0
"""Training of gated networks and of their dense twins, and the measurements that go with it."""

from __future__ import annotations

from acsgen.nn.batch_norm import FusedBatchNormalization
from acsgen.nn.training.loop import EpochEnd, State
from acsgen.nn.training.measure import Evaluation, evaluate, gate_outputs, predict_masks
from acsgen.nn.training.networks import train_dense, train_gated
from acsgen.nn.training.pair import Pair, Reached, train_pair
from acsgen.nn.training.schedule import Schedule

__all__ = [
    "EpochEnd",
    "Evaluation",
    "FusedBatchNormalization",
    "Pair",
    "Reached",
    "Schedule",
    "State",
    "evaluate",
    "gate_outputs",
    "predict_masks",
    "train_dense",
    "train_gated",
    "train_pair",
]
