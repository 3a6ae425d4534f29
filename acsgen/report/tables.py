# SPDX-License-Identifier: Apache-2.0
"""Tables for the terminal, one function for each command's result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import mean
from typing import Any

from rich.table import Table

from acsgen.demo import DemoResult
from acsgen.graph import Graph
from acsgen.plan import Buffer, Plan
from acsgen.target.boards import Board
from acsgen.target.doctor import Check
from acsgen.target.engines import ONLY_INSTRUCTIONS, runs_in
from acsgen.verify import Verification


def columns_table(title: str, *columns: str, numbers: Iterable[str] = (), firm: Iterable[str] = ()) -> Table:
    """With a header. numbers: columns set to the right. They and `firm` ones keep their width, others are wrapped."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        is_number = column in numbers
        table.add_column(
            column, justify="right" if is_number else "left", no_wrap=is_number or column in firm, overflow="fold"
        )
    return table


def pairs_table(title: str, rows: Iterable[tuple[str, str]]) -> Table:
    """Names and values, without a header."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, show_header=False)
    table.add_column(overflow="fold")
    table.add_column(justify="right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def count(value: float) -> str:
    """A whole number with separators."""
    return f"{value:,.0f}"


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def graph_table(graph: Graph) -> Table:
    """Operators, shapes and MACs of an int8 graph."""
    numbers = ("MACs", "scale", "zero point")
    columns = ("operator", "kind", "output", "scale", "zero point", "MACs")
    table = columns_table(f"{graph.name}: int8 graph", *columns, numbers=numbers, firm=("output",))
    for op in graph.ops:
        tensor = graph.tensors[op.output]
        table.add_row(
            op.name,
            type(op).__name__,
            "x".join(map(str, tensor.shape)),
            "" if tensor.scale is None else f"{tensor.scale:.5g}",
            "" if tensor.scale is None else str(tensor.zero_point),
            count(op.macs(*graph.input_shapes(op))),
        )
    table.add_section()
    table.add_row("all gates open", "", "", "", "", count(graph.macs()))
    return table


def plan_table(plan: Plan) -> Table:
    """The steps of a plan: kernel, layout, where the output lies, and the gate whose open groups alone count.

    "=" before an address: in place, where an input lies; "+": where it lies in what is joined from it. A sum within a
    convolution stands behind its name.
    """
    columns = ("step", "kernel", "output", "groups", "MACs", "at", "bytes", "gate")
    bound = f"lower bound {count(plan.lower_bound_bytes)}, {plan.arena_proof}"
    table = columns_table(
        f"{plan.graph.name}: {count(plan.arena_bytes)} bytes of arena ({bound})",
        *columns,
        numbers=("groups", "MACs", "at", "bytes"),
        firm=("kernel", "output"),
    )
    for step in plan.steps:
        buffer = plan.buffers[step.output]
        gates = dict.fromkeys(gate for gate in (step.active, step.joined) if gate)
        table.add_row(
            f"{step.op.name} + {step.residual.name}" if step.residual else step.op.name,
            step.kernel,
            "x".join(map(str, buffer.shape)),
            str(buffer.groups),
            count(step.macs) if step.macs else "",
            "" if buffer.offset is None else f"{_in_place(buffer)}{buffer.offset}",
            count(buffer.bytes),
            ", ".join(gates),
        )
    return table


def _in_place(buffer: Buffer) -> str:
    if buffer.slice_at is not None:
        return "+ "
    return "= " if buffer.shares else ""


def boards_table(boards: Iterable[Board]) -> Table:
    """What each board has, and what runs its firmware here."""
    listed = list(boards)
    touched = ", ".join(board.name for board in listed if board.hardware != "never") or "none"
    columns = ("name", "chip", "flash", "RAM", "kernel sets", "run in")
    table = columns_table(
        f"Boards (run on hardware: {touched})", *columns, numbers=("flash", "RAM"), firm=("name", "run in")
    )
    table.caption = (
        f"*{ONLY_INSTRUCTIONS}; see docs/boards.md\n+ needs PlatformIO's registry, never run; see docs/library.md"
    )
    table.caption_justify = "left"
    table.columns[1].min_width = max(len(word) for board in listed for word in board.title.split())
    rows = {
        board: " ".join(runs_in(board)).replace(ONLY_INSTRUCTIONS, "*") or ("nothing" if board.is_bare else "nothing+")
        for board in listed
    }
    table.columns[-1].min_width = max(map(len, rows.values()), default=0)
    for board in listed:
        table.add_row(
            board.name,
            board.title,
            f"{board.flash.bytes // 1024} KiB",
            f"{board.ram.bytes // 1024} KiB",
            ", ".join(board.kernel_sets),
            rows[board],
        )
    return table


def doctor_table(checks: Iterable[Check]) -> Table:
    table = columns_table("What acsgen needs", "", "what", "needed", "found", firm=("", "what", "needed"))
    for check in checks:
        table.add_row("ok" if check.ok else "MISSING", check.name, check.needed, check.found)
    return table


def doctor_advice(checks: Iterable[Check]) -> str:
    """The lines that install what is missing, to be copied: no table, which would break them."""
    fixes = dict.fromkeys(check.fix for check in checks if not check.ok)
    return "\n".join(["To install what is missing:", *(f"  {fix}" for fix in fixes)]) if fixes else ""


RAN_IN = {"qemu": "QEMU", "unicorn": "Unicorn", None: "the board"}


def verification_table(result: Verification, title: str) -> Table:
    rows = [
        ("run on" if result.engine is None else "run in", RAN_IN[result.engine]),
        ("samples compared", f"{result.samples}"),
        ("  with every tensor", f"{result.tensor_samples} ({count(result.compared_tensors)} tensors)"),
        ("mismatched logits", str(result.mismatched_logits)),
        ("mismatched masks", str(result.mismatched_masks)),
        ("mismatched tensors", str(result.mismatched_tensors)),
    ]
    if result.accuracy is not None:
        rows.append(("accuracy", percent(result.accuracy)))
    rows += [
        ("MACs, gates open", count(result.macs_dense)),
        ("MACs, gated: mean", f"{count(result.macs_gated.mean())} ({percent(result.mac_ratio)})"),
        ("MACs, gated: least to most", f"{count(result.macs_gated.min())} to {count(result.macs_gated.max())}"),
        *_cost_rows(result),
        ("distinct mask patterns", str(result.distinct_masks)),
    ]
    return pairs_table(title, rows)


def _cost_rows(result: Verification) -> list[tuple[str, str]]:
    """What runs cost: instructions in an emulator, cycles and time on a board."""
    if result.cycles_gated is None or result.cycles_dense is None:
        return [
            ("instructions, gates open", count(result.instructions_dense.mean())),
            (
                "instructions, gated: mean",
                f"{count(result.instructions_gated.mean())} ({percent(result.instruction_ratio)})",
            ),
            ("efficiency (instruction ratio / MAC ratio)", f"{result.efficiency:.3f}"),
        ]
    gated, dense = float(result.cycles_gated.mean()), float(result.cycles_dense.mean())
    return [
        ("cycles, gates open", count(dense)),
        ("cycles, gated: mean", f"{count(gated)} ({percent(result.instruction_ratio)})"),
        ("cycles, gated: least to most", f"{count(result.cycles_gated.min())} to {count(result.cycles_gated.max())}"),
        ("microseconds, gates open", f"{result.microseconds(dense):,.1f}"),
        ("microseconds, gated: mean", f"{result.microseconds(gated):,.1f}"),
        ("efficiency (cycle ratio / MAC ratio)", f"{result.efficiency:.3f}"),
    ]


def demo_table(result: DemoResult) -> Table:
    """The demo's figures, the dense and the ungated network beside the gated one."""
    s = result.summary
    table = columns_table(
        f"Fashion-MNIST on {s['board']}: {s['images']} images in the emulator, {s['accuracy_images']} for accuracy",
        "", "gated", "gates open", "ungated twin",
        numbers=("gated", "gates open", "ungated twin"),
    )  # fmt: skip
    wrong = s["mismatched_logits"] + s["mismatched_masks"] + s["mismatched_tensors"]
    table.add_row("mismatches (logits, masks, tensors)", str(wrong), "", str(s["mismatched_ungated"]))
    table.add_row("int8 accuracy", percent(s["int8_accuracy"]), percent(s["accuracy_open_gates"]), "")
    table.add_row("  float accuracy", percent(s["float_accuracy"]))
    table.add_row("  with constant masks", percent(s["accuracy_constant_masks"]))
    table.add_row("  with another image's masks", percent(s["accuracy_shuffled_masks"]))
    table.add_row("MACs, mean", count(s["mean_macs_gated"]), count(s["macs_dense"]), count(s["macs_ungated"]))
    table.add_row("  least to most", f"{count(s['min_macs'])} to {count(s['max_macs'])}")
    table.add_row(
        "instructions, mean",
        count(s["mean_instructions_gated"]),
        count(s["instructions_dense"]),
        count(s["instructions_ungated"]),
    )
    table.add_row(
        "efficiency of gating (1 is ideal)",
        "",
        f"{s['efficiency']:.3f}",
        f"{s['efficiency_against_ungated']:.3f}",
    )
    table.add_row("distinct mask patterns", str(s["distinct_masks"]))
    flips = s["flipped_mask_bits"].values()
    table.add_row("mask bits that int8 flips, mean and worst gate", f"{percent(mean(flips))}, {percent(max(flips))}")
    table.add_row("flash, RAM in bytes", f"{count(s['flash_bytes'])}, {count(s['ram_bytes'])}")
    table.caption = f"{s['seconds']} s; details in summary.json"
    table.caption_justify = "left"
    return table


def figures_table(title: str, figures: Mapping[str, Any]) -> Table:
    """Any named figures, as they stand in a JSON summary."""
    return pairs_table(title, ((name, _figure(value)) for name, value in figures.items()))


def _figure(value: Any) -> str:
    if isinstance(value, float):
        return count(value) if abs(value) >= 1000 else f"{value:.4f}"
    return count(value) if isinstance(value, int) else str(value)
