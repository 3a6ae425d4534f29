# SPDX-License-Identifier: Apache-2.0
"""A network of the zoo trained twice: first without gates, then with gates, from the dense twin's weights.

1. "groups": the dense twin learns the groups of its convolutions,
2. "dense": it goes on with the groups fixed,
3. "gates": the gated network starts from its weights and learns the groups of its gates' convolutions,
4. "gated": it goes on with the groups fixed, and is trained to its budget of MACs.

Where no groups are to be learned, 1 and 3 fall out. The twin is the teacher of the gated network.

The steps run on a fast form of the network (`FusedBatchNormalization`, and bfloat16 if wished); what is measured
and handed back is an ordinary one in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import keras

from acsgen.nn.batch_norm import FusedBatchNormalization
from acsgen.nn.data import Dataset
from acsgen.nn.training.loop import EpochEnd, Log, State
from acsgen.nn.training.measure import Evaluation, Meter
from acsgen.nn.training.networks import learned_groups, train_dense, train_gated
from acsgen.nn.training.schedule import Schedule
from acsgen.nn.zoo import ZOO, copy_weights, gated_twin

__all__ = ["Pair", "Phase", "Precision", "Reached", "Start", "fast_form", "train_pair"]

Phase = Literal["groups", "dense", "gates", "gated"]
_PHASES: tuple[Phase, ...] = get_args(Phase)
Precision = Literal["float32", "mixed_bfloat16"]


class Pair(NamedTuple):
    """Two trained float32 networks; `gated` is None where only the twin was wanted."""

    dense: keras.Model
    gated: keras.Model | None


@dataclass(frozen=True)
class Reached:
    """The end of an epoch, and what the network was then worth on the validation images, if measured."""

    phase: Phase
    epoch: EpochEnd
    validation: Evaluation | None


@dataclass(frozen=True)
class Start:
    """Where to go on: a phase, and what `EpochEnd.state` returned in it."""

    phase: Phase
    state: State


def train_pair(
    member: str,
    arguments: Mapping[str, Any],
    data: Dataset,
    schedule_dense: Schedule,
    schedule_gated: Schedule | None,
    seed: int = 0,
    log: Log = print,
    *,
    group_epochs: int = 2,
    precision: Precision = "float32",
    validate_every: int = 4,
    dense: keras.Model | None = None,
    teacher: keras.Model | None = None,
    start: Start | None = None,
    keep: Callable[[Reached], None] | None = None,
    keep_dense: Callable[[keras.Model], None] | None = None,
) -> Pair:
    """Trains a member of the zoo; see the module for the phases.

    arguments: of `ZOO[member].build`, without input_shape and classes, which come from the data, and without
        gated, channel_groups, seed and batch_norm, which are set here.
    schedule_dense: of the dense twin. The `epochs` of both schedules are those with fixed groups.
    schedule_gated: None, or a member that cannot be gated: only the twin is trained.
    seed: of the weights; the phases shuffle, shift and mirror with seed, seed + 1, seed + 3 and seed + 2.
    group_epochs: before them, where groups are learned; with 0 they stay as they were drawn.
    precision: of the training steps; bfloat16 is slow on processors without it.
    validate_every: epochs between two measurements on the validation images; the last epoch is always measured.
    dense: a trained dense twin to start from; none is trained then.
    teacher: of the dense twin, if it shall have one: any trained model of the same images and classes.
    start: goes on from there, with the same arguments as before; in phases "gates" and "gated" it needs `dense`.
    keep(reached) is called after each epoch, keep_dense(twin) between the twin's training and the gated one.

    With one processor thread the same arguments give the same weights, interrupted and resumed or not.
    Raises AcsgenError if the loss is no longer a number.
    """
    if start is not None and (start.phase in ("gates", "gated")) != (dense is not None):
        raise ValueError("train_pair: to go on with the gated network its dense twin is needed, and only then")
    keras.utils.set_random_seed(seed)
    shape = tuple(int(size) for size in data.train.x.shape[1:])
    known = {**arguments, "input_shape": shape, "classes": data.classes, "seed": seed}
    steps = _Steps(data, group_epochs, log, validate_every, start, keep)
    build = partial(ZOO[member].build, gated=False, **known)
    twin = fast_form(build, precision)
    if dense is None:
        dense = build()
        steps.run_both(("groups", "dense"), (seed, seed + 1), twin, dense, schedule_dense, teacher)
        if keep_dense is not None:
            keep_dense(dense)
    else:
        copy_weights(dense, twin)
        _fix_groups(twin)
    if schedule_gated is None or not ZOO[member].gated:
        return Pair(dense, None)
    build = partial(gated_twin, dense, member=member, **known)
    gated = build()
    steps.run_both(("gates", "gated"), (seed + 3, seed + 2), fast_form(build, precision), gated, schedule_gated, twin)
    return Pair(dense, gated)


def _fix_groups(model: keras.Model) -> None:
    for layer in learned_groups(model):
        layer.freeze_groups()


def fast_form(build: Callable[..., keras.Model], precision: Precision) -> keras.Model:
    """A model for training steps: of `build(batch_norm=...)`, in that precision, with a faster batch normalisation."""
    usual = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return build(batch_norm=FusedBatchNormalization)
    finally:
        keras.config.set_dtype_policy(usual)


@dataclass(frozen=True)
class _Steps:
    """What all phases share."""

    data: Dataset
    group_epochs: int
    log: Log
    validate_every: int
    start: Start | None
    keep: Callable[[Reached], None] | None

    def run_both(
        self,
        phases: tuple[Phase, Phase],
        seeds: tuple[int, int],
        fast: keras.Model,
        ordinary: keras.Model,
        schedule: Schedule,
        teacher: keras.Model | None = None,
    ) -> None:
        """Trains `fast`, first learning groups if it has any to learn; its weights end in `ordinary`."""
        learning = learned_groups(fast)
        later = self.start is not None and _PHASES.index(self.start.phase) > _PHASES.index(phases[0])
        if learning and self.group_epochs and not later:
            self._run(phases[0], fast, ordinary, replace(schedule, epochs=self.group_epochs), seeds[0], teacher)
        _fix_groups(fast)
        if not later:  # else the groups are those of the state that is yet to be read
            for layer in learning:
                self.log(f"{layer.name}: {layer.groups} groups, bits {layer.group_bits().tolist()}")
        self._run(phases[1], fast, ordinary, schedule, seeds[1], teacher)
        _fix_groups(ordinary)

    def _run(
        self,
        phase: Phase,
        fast: keras.Model,
        ordinary: keras.Model,
        schedule: Schedule,
        seed: int,
        teacher: keras.Model | None,
    ) -> None:
        """One phase, from its beginning or from `start`."""
        self.log(f"phase {phase}: {schedule.epochs} epochs")
        measured: list[Evaluation] = []
        meter = Meter(ordinary)

        def after_epoch(number: int) -> str:
            measured.clear()
            if (number + 1) % self.validate_every and number + 1 != schedule.epochs:
                return ""
            copy_weights(fast, ordinary)
            measured.append(meter.evaluate(self.data.validation.x, self.data.validation.y, controls=False))
            return measured[0].text()

        def keep(end: EpochEnd) -> None:
            if self.keep is not None:
                self.keep(Reached(phase, end, measured[0] if measured else None))

        train = train_gated if phase in ("gates", "gated") else train_dense
        train(
            fast,
            self.data.train.x,
            self.data.train.y,
            schedule,
            seed=seed,
            log=self.log,
            after_epoch=after_epoch,
            keep=keep,
            start=self.start.state if self.start is not None and self.start.phase == phase else None,
            resumable=True,
            teacher=teacher,
        )
        copy_weights(fast, ordinary)
