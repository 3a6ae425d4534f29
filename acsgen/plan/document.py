# SPDX-License-Identifier: Apache-2.0
"""`plan.json`: the plan as a document, for people and for whoever checks a firmware against it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from acsgen.errors import AcsgenError
from acsgen.graph.ops import image_shape
from acsgen.plan.lists import Bits, with_lists
from acsgen.plan.plan import Buffer, Plan, Step, Term, count_macs

VERSION = 3


def plan_document(plan: Plan) -> dict[str, Any]:
    """The plan without the weights, ready for `json.dumps`."""
    return {
        "version": VERSION,
        "name": plan.graph.name,
        "macs": int(plan.macs()),
        "arena_bytes": plan.arena_bytes,
        "lower_bound_bytes": plan.lower_bound_bytes,
        "arena_proof": plan.arena_proof,
        "gates": [
            {"mask": g.mask, "groups": g.groups, "offset": g.offset, "list_offset": g.list_offset} for g in plan.gates
        ],
        "waiting": [{"mask": mask, "when": when} for mask, when in plan.waiting],
        "lists": [{"name": s.name, "bits": s.bits, "offset": s.offset, "step": s.step} for s in plan.lists],
        "buffers": [_buffer(buffer) for buffer in plan.buffers.values()],
        "terms": [term._asdict() for term in plan.terms],
        "steps": [_step(plan, index, step) for index, step in enumerate(plan.steps)],
    }


def _buffer(buffer: Buffer) -> dict[str, Any]:
    return {
        "name": buffer.name,
        "tensor": buffer.tensor,
        "shape": buffer.shape,
        "groups": buffer.groups,
        "bytes": buffer.bytes,
        "offset": buffer.offset,
        "first": buffer.first,
        "last": buffer.last,
        "shares": buffer.shares,
        "slice_at": buffer.slice_at,
    }


def _step(plan: Plan, index: int, step: Step) -> dict[str, Any]:
    written = plan.buffers[step.output]
    return {
        "index": index,
        "kernel": step.kernel,
        "op": step.op.name,
        "inputs": step.inputs,
        "output": step.output,
        "tensor": written.tensor,
        "shape": written.shape,
        "groups": written.groups,
        "unwritten_where_closed": written.mask.list if written.mask else None,
        "active": step.active,
        "joined": step.joined,
        "when": step.when,
        "before": step.before.name if step.before else None,
        "macs": step.macs,
        "pack_limit": step.pack_limit,
        "pack_rows": step.pack_rows,
        "closed_inputs": step.closed,
        "residual": step.residual.name if step.residual else None,
        "rows": step.rows,
        "form": step.form,
        "form_why": step.form_why,
        "scratch_bytes": step.scratch_bytes,
        "scratch_offset": step.scratch_offset if step.scratch_bytes else None,
        "why": step.why,
    }


@dataclass(frozen=True)
class Observed:
    """A tensor as firmware shows it after a step.

    groups: of its layout. when: it holds nothing at all in mode SKIP unless one of these lists has an active
    group; (): it always does. unwritten: the list outside of which groups hold anything in mode SKIP, or None.
    """

    index: int
    tensor: str
    shape: tuple[int, ...]
    groups: int
    unwritten: str | None
    is_mask: bool
    when: tuple[str, ...]

    def used(self, lists: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
        """Which channels hold something in mode SKIP: (C,), or (N, C) for masks of N runs.

        lists: masks of gates and lists (..., G), as `PlanFile.with_lists` gives them.
        """
        channels = self.shape[-1]
        used = np.ones(channels, bool)
        if self.unwritten:
            groups = lists[self.unwritten] != 0
            used = np.repeat(groups, channels // groups.shape[-1], axis=-1)
        if self.when:
            runs = np.any([(lists[name] != 0).any(axis=-1) for name in self.when], axis=0)
            used = used & runs[..., None]
        return used

    def to_nhwc(self, raw: bytes) -> NDArray[np.int8]:
        """The bytes of one observation in the golden model's layout."""
        values = np.frombuffer(raw, np.int8)
        if self.groups == 1:
            return values.reshape(self.shape)
        height, width, channels = image_shape(self.shape)
        grouped = values.reshape(self.groups, height, width, channels // self.groups)
        return grouped.transpose(1, 2, 0, 3).reshape(self.shape)


@dataclass(frozen=True)
class PlanFile:
    """What a `plan.json` says to whoever verifies a firmware.

    waiting: as `Plan.waiting`. steps: the terms of each step.
    """

    gates: tuple[tuple[str, int], ...]
    waiting: tuple[tuple[str, tuple[str, ...]], ...]
    lists: tuple[tuple[str, Bits], ...]
    observed: tuple[Observed, ...]
    steps: tuple[tuple[Term, ...], ...]

    @property
    def terms(self) -> tuple[Term, ...]:
        """As `Plan.terms`."""
        return tuple(term for terms in self.steps for term in terms)

    def split_masks(self, masks: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
        """The masks of a run (..., all groups) by gate."""
        result, at = {}, 0
        for name, groups in self.gates:
            result[name] = masks[..., at : at + groups]
            at += groups
        return result

    def macs(self, masks: Mapping[str, ArrayLike] | None = None) -> NDArray[np.int64]:
        """As `Plan.macs`."""
        return count_macs(self.terms, self.with_lists(masks or {}))

    def with_lists(self, masks: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
        """As `Plan.with_lists`."""
        return with_lists(masks, self.lists, self.waiting)

    @property
    def always(self) -> set[str]:
        """Masks that are decided in every run."""
        return {name for name, _ in self.gates} - {name for name, _ in self.waiting}


def read_plan(path: Path) -> PlanFile:
    """Reads a `plan.json` that this version wrote."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["version"] != VERSION:
            raise AcsgenError(f"{path}: plan of version {document['version']}, generate the project again")
        gates = tuple((g["mask"], g["groups"]) for g in document["gates"])
        masks = {name for name, _ in gates}
        terms = iter([Term(**{**term, "when": tuple(term["when"])}) for term in document["terms"]])
        return PlanFile(
            gates,
            tuple((w["mask"], tuple(w["when"])) for w in document["waiting"]),
            tuple((s["name"], tuple(tuple(bit) if bit else None for bit in s["bits"])) for s in document["lists"]),
            tuple(
                Observed(
                    s["index"], s["tensor"], tuple(s["shape"]), s["groups"], s["unwritten_where_closed"],
                    s["tensor"] in masks, tuple(s["when"]),
                )
                for s in document["steps"]
            ),
            # A step with a layer before has a term more.
            tuple(tuple(islice(terms, 2 if s["before"] else 1)) for s in document["steps"]),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AcsgenError(f"{path}: no plan of an acsgen project: generate the project again") from error
