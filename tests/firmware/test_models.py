# SPDX-License-Identifier: Apache-2.0
"""Skipping never changes a bit: generated C of random graphs against the golden model, under sanitizers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from acsgen.golden import UNDECIDED, quantize_input, run, told_masks
from acsgen.graph import Conv2D, Dense, Graph, SumGate
from acsgen.graph.ops import Padding
from acsgen.plan import Plan, plan
from acsgen.quantize import quantize
from acsgen.resources import resource_dir
from acsgen.target.link import RunMode
from tests.firmware.host import (
    COMMON,
    WARNINGS,
    Kit,
    assert_same_bits,
    build_model,
    gcc,
    run_model,
    run_program,
    write_model,
)
from tests.graphs import HEADS, SCENES, Builder, mixed, quantize_with_logits, random_graph

SEEDS = range(80)
MODES = {RunMode.SKIP: "run", RunMode.MULTIPLY: "run", RunMode.OPEN: "open"}


def inputs(graph: Graph, samples: NDArray[np.float32], seed: int) -> NDArray[np.int8]:
    """Five samples of the calibration, two of noise, and the two ends of int8."""
    rng = np.random.default_rng(seed)
    shape = graph.shape(graph.input)
    noise = rng.integers(-128, 128, (2, *shape)).astype(np.int8)
    ends = np.stack([np.full(shape, -128, np.int8), np.full(shape, 127, np.int8)])
    return np.concatenate([quantize_input(graph, samples[:5]), noise, ends])


def check(kit: Kit, graph: Graph, x: NDArray[np.int8], folder: Path) -> Plan:
    """Runs the graph in every mode and holds every value against the golden model's."""
    model = build_model(kit, plan(graph, kit.kernel_set), folder)
    for mode, gates in MODES.items():
        golden = run(graph, x, "open" if gates == "open" else "run")
        runs = run_model(model, x, mode, poison=0xA5)
        assert_same_bits(model, runs, golden, mode)
        unobserved = run_model(model, x, mode, poison=0x3C, observe=False)
        for one, other in zip(runs, unobserved, strict=True):
            np.testing.assert_array_equal(one.output, other.output)
            np.testing.assert_array_equal(one.masks, other.masks)
    return model.plan


@cache
def quantized(seed: int) -> tuple[Graph, NDArray[np.int8]]:
    """A random graph in int8, and what it is run on."""
    drawn = random_graph(seed)
    graph = quantize(drawn.graph, drawn.samples)
    return graph, inputs(graph, drawn.samples, seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_graph(kit: Kit, tmp_path: Path, seed: int) -> None:
    check(kit, *quantized(seed), tmp_path)


@pytest.mark.parametrize("seed", range(0, 80, 5))
def test_random_graph_that_decides_on_logits(kit: Kit, tmp_path: Path, seed: int) -> None:
    drawn = random_graph(seed)
    graph = quantize_with_logits(drawn.graph, drawn.samples)
    check(kit, graph, inputs(graph, drawn.samples, seed), tmp_path)


def test_random_graphs_are_various() -> None:
    """Together they use every scene, every kernel and every kind of list, and gates that differ."""
    scenes: set[str] = set()
    seen: Counter[str] = Counter()
    for seed in SEEDS:
        scenes |= random_graph(seed).scenes
        graph, x = quantized(seed)
        masks = run(graph, x, keep=[gate.output for gate in graph.gates])
        told = told_masks(graph, masks, {gate.output for gate in graph.gates} - set(dict(plan(graph).waiting)))
        seen["mask: not decided"] += sum(int((mask == UNDECIDED).any(axis=-1).sum()) for mask in told.values())
        for mask in (row for values in masks.values() for row in values if len(row) > 1):
            seen["mask: closed" if not mask.any() else "mask: open" if mask.all() else "mask: mixed"] += 1
        planned = plan(graph)
        for step in planned.steps:
            seen[step.kernel] += 1
            seen[f"{step.kernel}, list"] += step.active is not None
            seen[f"{step.kernel}, join"] += step.joined is not None
            seen["zeroed"] += step.fill
            seen["left out as a whole"] += bool(step.when)
            seen["gate on sums"] += isinstance(step.op, SumGate)
            seen["gate that is not always asked"] += step.kernel == "gate" and bool(step.when)
            seen["normalised on the way"] += step.before is not None
            seen[f"closed inputs: {step.closed}"] += step.joined is not None
            seen["in place"] += planned.buffers[step.output].shares is not None
            seen["where it is joined"] += planned.buffers[step.output].slice_at is not None
            if step.active and planned.buffers[step.output].groups > len(planned.bits(step.active)):
                seen["list of coarser groups"] += 1
    assert {scene.__name__ for scene in (*SCENES, *HEADS)} | {"signal", "scaled_input"} <= scenes
    wanted = ["mask: closed", "mask: open", "mask: mixed", "zeroed", "in place", "list of coarser groups"]
    wanted += ["gate on sums", "mask: not decided", "gate that is not always asked"]
    wanted += [
        "where it is joined",
        "left out as a whole",
        "normalised on the way",
        "closed inputs: table",
        "closed inputs: computed",
    ]
    wanted += [
        "join, list",
        "concat",
        "pad",
        "add",
        "apply_mask",
        "clamp",
        "group",
        "shuffle",
        "ungroup",
        "conv_join, join",
    ]
    wanted += [f"{kernel}, list" for kernel in ("avg_pool", "conv", "conv_join", "depthwise", "max_pool", "ungroup")]
    assert {name: seen[name] for name in wanted if seen[name] < 5} == {}


def gated_vector(b: Builder) -> str:
    return b.mask("x", b.gate("x", 4), mixed(b.rng, 16, 4))


def masked_view(b: Builder) -> str:
    """A mask on a flattened tensor that somebody else reads unmasked, later."""
    conv = b.conv("x", 8)
    masked = b.mask(b.flatten(conv), b.gate("x", 4))
    return b.add(b.dense(masked, 5), b.dense(b.flatten(b.pool(conv)), 5))


def two_readers_of_one_layout(b: Builder) -> str:
    """A grouped convolution that cannot read the layout that another reader got."""
    mask = b.gate("x", 2)
    masked = b.mask(b.conv("x", 16), mask)
    first, second = b.conv(masked, 16, groups=4), b.conv(masked, 16, groups=8)
    return b.add(b.mask(first, mask), b.mask(second, mask))


def coarser_convolution_under_a_finer_mask(b: Builder) -> str:
    """An open group needs a closed one of the same gate: that must be zero, not left out."""
    mask = b.gate("x", 8)
    return b.mask(b.conv(b.mask(b.conv("x", 16), mask), 16, groups=4), mask)


def one_gate_over_everything(b: Builder) -> str:
    """A mask of a single group: a whole layer is skipped, and read as NHWC."""
    return b.conv(b.mask(b.conv("x", 8), b.gate("x", 1)), 8)


def constant_gate(bias: float) -> Callable[[Builder], str]:
    """A gate whose weights are zero."""

    def build(b: Builder) -> str:
        weights, level = np.zeros((4, b.channels("x")), np.float32), np.full(4, bias, np.float32)
        mask = b.gate_on(b.put(Dense, b.features("x"), weights=weights, bias=level))
        return b.conv(b.mask(b.conv("x", 8), mask), 8)

    return build


def dead_layer(b: Builder) -> str:
    """A convolution of zeros, whose output has no range."""
    dead = b.put(Conv2D, "x", weights=np.zeros((8, 1, 1, 4), np.float32), bias=np.zeros(8, np.float32))
    return b.conv(b.relu(dead), 4)


def gated_signal(b: Builder) -> str:
    """From a signal to a signal, with masks on a pool, on a concatenation and on a sum."""
    x = b.reshape("x", (1, *b.shape("x")))
    mask = b.gate(x, 4)
    one = b.conv(x, 8, (1, 5), (1, 2), padding=Padding(left=4), activation="relu")
    other = b.mask(b.pool(b.conv(x, 8, (1, 3)), kernel=(1, 2), stride=(1, 2)), mask, mixed(b.rng, 8, 4))
    joined = b.mask(b.concat(one, other, one), mask, mixed(b.rng, 24, 4))
    total = b.mask(b.add(joined, b.dgconv(joined, mixed(b.rng, 24, 4), (1, 3))), mask, mixed(b.rng, 24, 4))
    return b.reshape(total, b.shape(total)[1:])


def elementwise_on_a_signal(b: Builder) -> str:
    """Nothing that needs an image."""
    return b.flatten(b.concat(b.add("x", b.relu("x")), "x"))


def zeros_beyond_the_kernel(b: Builder) -> str:
    """Whole windows of zeros, in every kind of convolution."""
    wide = b.pad("x", Padding(4, 5, 3, 4))
    one, other = b.conv(wide, 8, (3, 3), same=False), b.depthwise(wide, same=False)
    single = b.conv(b.pad("x", Padding(3, 4, 2, 3)), 8, (1, 1), groups=4)
    return b.concat(one, b.conv(other, 8, (1, 1)), b.mask(single, b.gate("x", 2)))


def a_mask_behind_a_mask(b: Builder) -> str:
    """If the second gate closes its only group, nobody asks the first one, nor the convolution that only it reads."""
    look = b.conv("x", 6, activation="relu")
    first = b.mask(b.conv("x", 8), b.gate(look, 4))
    return b.add(b.conv("x", 4), b.conv(b.mask(b.conv(first, 8), b.gate("x", 1)), 4))


def joined_groups(b: Builder) -> str:
    """Parts in three layouts, one of them nothing but what a gate may close."""
    parts = b.conv("x", 8, groups=4), b.mask(b.conv("x", 8), b.gate("x", 2)), b.mask(b.conv("x", 4), b.gate("x", 1))
    return b.conv(b.concat(*parts, "x"), 8, groups=8)


def chain_of_concatenations(b: Builder) -> str:
    """All parts, and what is joined from them, are written where they lie in the last tensor."""
    x = b.mask(b.conv("x", 8), b.gate("x", 2))
    for _ in range(2):
        x = b.concat(x, b.mask(b.conv(b.relu(b.batch_norm(x)), 8, (1, 1)), b.gate(x, 2)))
    return b.conv(x, 8)


def gathered_by_bands(b: Builder) -> str:
    """More of a masked image than is gathered at a time, behind normalisation as well, to one image and to groups."""
    x = b.mask(b.conv("x", 64, (1, 1)), b.gate("x", 8))
    x = b.concat(x, b.mask(b.conv(b.relu(b.batch_norm(x)), 32, (1, 1)), b.gate("x", 4)))
    return b.conv(b.mask(b.conv(x, 8, stride=(2, 2)), b.gate("x", 2)), 4)


def joined_vectors(b: Builder) -> str:
    """A single pixel lies part behind part; a part that is one twice, and one that is read later, are copied."""
    one, other = b.dense(b.flatten("x"), 8), b.dense(b.flatten("x"), 16)
    return b.concat(b.dense(b.concat(one, other, one), 8), other)


#: Small networks, each of which once was, or nearly was, a special case. (shape of the input, how to build it)
SPECIAL: dict[str, tuple[tuple[int, ...], Callable[[Builder], str]]] = {
    "a single convolution": ((6, 6, 4), lambda b: b.conv("x", 4)),
    "a single clamp": ((6, 6, 4), lambda b: b.relu("x")),
    "a single pool": ((6, 6, 4), lambda b: b.pool("x")),
    "a tensor added to itself": ((4, 4, 8), lambda b: b.add("x", "x")),
    "a grouped convolution of the input": ((6, 6, 4), lambda b: b.conv("x", 8, groups=2)),
    "learned groups at both ends": ((6, 6, 8), lambda b: b.dgconv("x", mixed(b.rng, 8, 4))),
    "an MLP": ((6, 6, 4), lambda b: b.dense(b.relu(b.dense(b.flatten("x"), 8)), 4)),
    "a vector as input": ((16,), lambda b: b.dense(b.dense("x", 8, "relu"), 4)),
    "a masked vector": ((16,), gated_vector),
    "a masked input, flattened": ((2, 2, 4), lambda b: b.mask(b.flatten("x"), b.gate("x", 4), mixed(b.rng, 16, 4))),
    "a masked input into a dense layer": ((4, 4, 8), lambda b: b.dense(b.mask("x", b.gate("x", 2)), 5)),
    "a masked view": ((4, 4, 3), masked_view),
    "two readers of one layout": ((5, 5, 4), two_readers_of_one_layout),
    "a coarser convolution under a finer mask": ((5, 5, 4), coarser_convolution_under_a_finer_mask),
    "one gate over everything": ((5, 5, 4), one_gate_over_everything),
    "a masked output of a single group": ((5, 5, 4), lambda b: b.mask(b.conv("x", 8), b.gate("x", 1))),
    "grouped convolution of one pixel": ((1, 1, 8), lambda b: b.conv(b.depthwise("x"), 8, groups=4)),
    "zeros to the right of a single tap": (
        (5, 5, 4),
        lambda b: b.conv("x", 4, (1, 1), (2, 2), padding=Padding(bottom=2, right=1)),
    ),
    "a signal": ((40, 3), gated_signal),
    "elementwise on a signal": ((9, 4), elementwise_on_a_signal),
    "a padded input as output": ((3, 4, 2), lambda b: b.pad("x", Padding(0, 1, 2, 0))),
    "a padding before a pool": ((4, 4, 8), lambda b: b.pool(b.pad(b.mask("x", b.gate("x", 4)), Padding(1, 1, 1, 1)))),
    "zeros beyond the kernel": ((5, 5, 4), zeros_beyond_the_kernel),
    "a tensor joined with itself": ((4, 4, 3), lambda b: b.concat("x", "x", "x")),
    "joined groups": ((5, 5, 4), joined_groups),
    "a chain of concatenations": ((4, 4, 4), chain_of_concatenations),
    "gathered by bands": ((18, 15, 2), gathered_by_bands),
    "joined vectors": ((3, 3, 4), joined_vectors),
    "a mask behind a mask": ((5, 5, 4), a_mask_behind_a_mask),
    "a reshape that mixes channels": (
        (4, 4, 4),
        lambda b: b.dgconv(b.reshape(b.dgconv("x", mixed(b.rng, 4, 2)), (2, 4, 8)), mixed(b.rng, 8, 2)),
    ),
    "a gate that never opens": ((5, 5, 4), constant_gate(-1)),
    "a gate that never closes": ((5, 5, 4), constant_gate(1)),
    "a gate whose logits are zero": ((5, 5, 4), constant_gate(0)),
    "a gate on the input itself": ((8,), lambda b: b.mask(b.dense("x", 16), b.gate_on("x"), mixed(b.rng, 16, 8))),
    "a dead layer": ((5, 5, 4), dead_layer),
    "a gate per channel": ((5, 5, 4), lambda b: b.conv(b.mask(b.conv("x", 32), b.gate("x", 32)), 8)),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_special_graph(kit: Kit, tmp_path: Path, name: str) -> None:
    shape, build = SPECIAL[name]
    builder = Builder(np.random.default_rng(1), shape)
    output = build(builder)
    graph = quantize(builder.graph(output), builder.samples)
    check(kit, graph, inputs(graph, builder.samples, 1), tmp_path)


def test_closed_groups_are_not_computed(kit: Kit, tmp_path: Path) -> None:
    """In mode SKIP the poison is still there after a convolution, but for what the small gate left."""
    builder = Builder(np.random.default_rng(1), (8, 8, 4))
    mask = builder.gate("x", 4)
    output = builder.conv(builder.mask(builder.conv("x", 16), mask), 4)
    graph = quantize(builder.graph(output), builder.samples)
    model = build_model(kit, plan(graph, kit.kernel_set), tmp_path)
    x = quantize_input(graph, builder.samples)
    index = next(i for i, step in enumerate(model.plan.steps) if step.active)
    closed = 0
    for run_ in run_model(model, x, RunMode.SKIP, poison=0xA5):
        groups = np.frombuffer(run_.tensors[index], np.uint8).reshape(4, -1)
        left = (groups[run_.masks == 0] == 0xA5).mean(axis=1)
        assert (left > 0.9).all()
        closed += len(left)
    assert closed > 10


def test_two_models_in_one_program(kit: Kit, tmp_path: Path) -> None:
    """No name of one model is in the way of another's."""
    for name, seed in (("first", 0), ("second", 1)):
        write_model(plan(quantized(seed)[0]), tmp_path, name)
    main = tmp_path / "main.c"
    main.write_text(
        '#include "first.h"\n#include "second.h"\n'
        "int main(void) { return first_model.run == second_model.run || !FIRST_ARENA_BYTES || !SECOND_ARENA_BYTES; }\n"
    )
    program, headers = tmp_path / "main", [f"-I{path}" for path in (tmp_path, *kit.headers)]
    gcc(*COMMON, *WARNINGS, "-pedantic", *headers, *sorted(tmp_path.glob("*.c")), kit.library, "-o", program)
    assert run_program(program, b"") == b""


def test_headers_are_c_and_cplusplus(tmp_path: Path) -> None:
    """Each by itself, without a warning."""
    write_model(plan(quantized(0)[0]), tmp_path)
    runtime = resource_dir("firmware") / "runtime"
    for header in (tmp_path / "net.h", runtime / "acs.h", runtime / "acs_layers.h"):
        text = header.read_text()
        assert text.count('#ifdef __cplusplus\nextern "C" {\n#endif') == 1
        assert text.count("#ifdef __cplusplus\n}\n#endif") == 1
        user = tmp_path / "user.c"
        user.write_text(f'#include "{header}"\n#include "{header}"\n')
        arguments = (*WARNINGS, "-pedantic", "-fsyntax-only", f"-I{runtime}", user)
        gcc("-std=c11", *arguments)
        gcc("-x", "c++", "-std=c++11", *arguments)
