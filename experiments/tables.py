# SPDX-License-Identifier: Apache-2.0
"""Rows of all jobs as experiments/results.json, and as the tables of docs/results.md (results.md.j2)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from experiments.jobs import (
    BUDGETS,
    CONV_DESIGNS,
    CONV_MEMBER,
    DENSE_EPOCHS,
    GATE_DESIGNS,
    GATE_MEMBER,
    GATE_TARGET,
    GATED_EPOCHS,
    SCHEDULES,
    SEEDS,
    TRAIN_IMAGES,
    Kind,
    budget_name,
    conv_names,
    dense_name,
    gate_name,
    percent,
    resnext_name,
    units,
    way_name,
)
from experiments.measure import EMULATED, MEASURED
from experiments.recipe import RECIPE, RECIPE_FOLDER, recipe_row
from experiments.train import LOG, ROW

RESULTS, LOGS, DOCUMENT = Path("experiments/results.json"), Path("experiments/train.log"), Path("docs/results.md")


@dataclass(frozen=True)
class Row:
    """One trained and measured network. row, measured: its files."""

    row: dict[str, Any]
    measured: dict[str, Any]

    @cached_property
    def test(self) -> dict[str, Any]:
        return dict(self.row["test"])

    @property
    def macs(self) -> float:
        return float(self.test["macs_mean"])

    @property
    def share(self) -> float:
        return self.macs / float(self.test["macs_dense"])


def write(root: Path) -> Iterable[Path]:
    """Writes the results, the logs and the document; jobs that are not there yet are left out of all three."""
    rows: dict[str, Row] = {}
    logs = []
    for job in (job for unit in units() for job in unit):
        folder = root / job.name
        if (folder / ROW).is_file() and (folder / MEASURED).is_file():
            rows[job.name] = Row(_read(folder / ROW), _read(folder / MEASURED))
            logs.append(f"== {job.name}\n{(folder / LOG).read_text(encoding='utf-8')}")
    recipe = recipe_row(root)
    if recipe:
        logs.append(f"== {RECIPE}\n{(root / RECIPE_FOLDER / LOG).read_text(encoding='utf-8')}")
    whole = {name: {**row.row, "measured": row.measured} for name, row in rows.items()}
    RESULTS.write_text(json.dumps({"recipe": recipe, "jobs": whole}, indent=1) + "\n", encoding="utf-8")
    LOGS.write_text("".join(logs), encoding="utf-8")
    DOCUMENT.write_text(document(rows, recipe), encoding="utf-8")
    return RESULTS, LOGS, DOCUMENT


def document(rows: dict[str, Row], recipe: dict[str, Any] | None) -> str:
    """docs/results.md: what the networks are worth."""
    dates = sorted(row.row["date"] for row in rows.values())
    total = sum(row.row["seconds"] + row.measured["seconds"] for row in rows.values())
    emulated = sum(row.measured["emulated"] for row in rows.values())
    mismatches = sum(row.measured["mismatches"] for row in rows.values())
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # noqa: S701  Markdown, not HTML
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["thousands"] = "{:,}".format
    return environment.get_template("results.md.j2").render(
        first=dates[0],
        last=dates[-1],
        networks=len(rows),
        minutes=round(total / 60),
        images=TRAIN_IMAGES,
        dense=DENSE_EPOCHS,
        gated=GATED_EPOCHS,
        both=DENSE_EPOCHS + GATED_EPOCHS,
        emulated=emulated,
        mismatches=mismatches,
        each=EMULATED,
        gate_member=GATE_MEMBER,
        conv_member=CONV_MEMBER,
        target=percent(GATE_TARGET),
        zoo=_table(ZOO_HEAD, _zoo_rows(rows)),
        tuned=_table(TUNED_HEAD, _tuned_rows(rows)),
        gates=_table(GATES_HEAD, _gate_rows(rows)),
        convs=_table(CONVS_HEAD, _conv_rows(rows)),
        ways=_table(WAYS_HEAD, _way_rows(rows)),
        recipe=recipe,
    )


ZOO_HEAD = (
    "network",
    "budget",
    "MACs mean",
    "share",
    "min..max",
    "float",
    "int8",
    "flips",
    "constant",
    "another's",
    "static: MACs",
    "static: float",
    "static: int8",
    "instructions",
)

TUNED_KINDS: Mapping[Kind, str] = {"gated": "as trained", "tuned": "fine-tuned"}
TUNED_HEAD = ("network", "", "MACs mean", "float", "int8", "flips", "patterns", "constant", "another's")

GATES_HEAD = (
    "gate",
    "gates: MACs",
    "MACs mean",
    "share",
    "float",
    "constant",
    "another's",
    "dynamic bits",
    "instructions",
)

CONVS_HEAD = (
    "network",
    "convolution",
    "ungated: MACs",
    "float",
    "instructions",
    "gated: MACs",
    "float",
    "instructions",
)

WAYS_HEAD = ("way", "MACs mean", "share", "float", "constant", "another's", "patterns", "dynamic bits")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)])


def _pair(rows: Sequence[Row], value: Callable[[Row], float | None], form: str) -> str:
    """The same figure of all seeds."""
    values = [value(row) for row in rows]
    return " / ".join("" if v is None else form.format(v) for v in values)


def _points(rows: Sequence[Row], value: Callable[[Row], float | None]) -> str:
    return _pair(rows, lambda row: None if (v := value(row)) is None else 100 * v, "{:.2f}")


def _thousands(rows: Sequence[Row], value: Callable[[Row], float]) -> str:
    return _pair(rows, lambda row: value(row) / 1000, "{:,.0f} K")


def _found(rows: dict[str, Row], names: Iterable[str]) -> list[Row]:
    return [rows[name] for name in names if name in rows]


def _of_budget(rows: dict[str, Row], member: str, kind: Kind, target: float) -> list[Row]:
    return _found(rows, (budget_name(member, seed, kind, target) for seed in SEEDS))


def _dense(rows: dict[str, Row], member: str) -> list[Row]:
    return _found(rows, (dense_name(member, seed) for seed in SEEDS))


def _zoo_rows(rows: dict[str, Row]) -> Iterable[list[str]]:
    for member, budgets in BUDGETS.items():
        if dense := _dense(rows, member):
            cells = _common(dense)
            yield [f"`{member}`", "ungated", *cells[:5], *[""] * 6, cells[-1]]
        for target in budgets:
            gated = _of_budget(rows, member, "gated", target)
            static = _of_budget(rows, member, "static", target)
            if not gated or not static:
                continue
            *cells, instructions = _common(gated)
            yield [
                f"`{member}`",
                f"{percent(target)} %",
                *cells,
                _pair(gated, lambda row: 100 * row.measured["flipped_bits"], "{:.2f} %"),
                *_controls(gated),
                _thousands(static, lambda row: row.macs),
                _points(static, lambda row: row.test["accuracy"]),
                _points(static, lambda row: row.measured["int8_accuracy"]),
                instructions,
            ]


def _common(rows: list[Row]) -> list[str]:
    low, high = (min(row.test["macs_min"] for row in rows), max(row.test["macs_max"] for row in rows))
    return [
        _thousands(rows, lambda row: row.macs),
        _pair(rows, lambda row: row.share, "{:.3f}"),
        f"{low / 1000:,.0f}..{high / 1000:,.0f} K" if low < high else "",
        _points(rows, lambda row: row.test["accuracy"]),
        _points(rows, lambda row: row.measured["int8_accuracy"]),
        _thousands(rows, lambda row: row.measured["instructions"]),
    ]


def _controls(rows: list[Row]) -> list[str]:
    return [
        _points(rows, lambda row: row.test["accuracy_constant"]),
        _points(rows, lambda row: row.test["accuracy_shuffled"]),
    ]


def _tuned_rows(rows: dict[str, Row]) -> Iterable[list[str]]:
    for member, budgets in BUDGETS.items():
        for kind, title in TUNED_KINDS.items():
            found = _of_budget(rows, member, kind, budgets[0]) if budgets else []
            if not found:
                continue
            yield [
                f"`{member}`",
                title,
                _thousands(found, lambda row: row.macs),
                _points(found, lambda row: row.test["accuracy"]),
                _points(found, lambda row: row.measured["int8_accuracy"]),
                _pair(found, lambda row: 100 * row.measured["flipped_bits"], "{:.2f} %"),
                _pair(found, lambda row: row.test["patterns"], "{:,}"),
                *_controls(found),
            ]


def _gate_rows(rows: dict[str, Row]) -> Iterable[list[str]]:
    twins = _dense(rows, GATE_MEMBER)
    for design in GATE_DESIGNS:
        found = _found(rows, (gate_name(design, seed) for seed in SEEDS))
        if not found or not twins:
            continue
        yield [
            f"`{design}`",
            _thousands(found[:1], lambda row: row.test["macs_dense"] - twins[0].macs),
            _thousands(found, lambda row: row.macs),
            _pair(found, lambda row: row.share, "{:.3f}"),
            _points(found, lambda row: row.test["accuracy"]),
            *_controls(found),
            _pair(found, lambda row: row.test["dynamic_bits"], "{:.2f}"),
            _thousands(found, lambda row: row.measured["instructions"]),
        ]


def _conv_rows(rows: dict[str, Row]) -> Iterable[list[str]]:
    for conv in CONV_DESIGNS:
        both = [_found(rows, names) for names in zip(*(conv_names(conv, seed) for seed in SEEDS), strict=True)]
        if all(both):
            yield [f"`{CONV_MEMBER}`", f"`{conv}`", *(cell for found in both for cell in _cost(found))]
    for conv in ("dg", "plain"):
        if found := _found(rows, (resnext_name(conv, seed) for seed in SEEDS)):
            yield ["`g_resnext`", f"`{conv}`", *_cost(found), "", "", ""]


def _cost(rows: list[Row]) -> list[str]:
    return [
        _thousands(rows, lambda row: row.macs),
        _points(rows, lambda row: row.test["accuracy"]),
        _thousands(rows, lambda row: row.measured["instructions"]),
    ]


def _way_rows(rows: dict[str, Row]) -> Iterable[list[str]]:
    ways = {"usual": gate_name("grid", SEEDS[0]), **{way: way_name(way) for way in SCHEDULES}}
    for way, name in ways.items():
        if found := _found(rows, [name]):
            yield [
                way,
                _thousands(found, lambda row: row.macs),
                _pair(found, lambda row: row.share, "{:.3f}"),
                _points(found, lambda row: row.test["accuracy"]),
                *_controls(found),
                _pair(found, lambda row: row.test["patterns"], "{:,}"),
                _pair(found, lambda row: row.test["dynamic_bits"], "{:.2f}"),
            ]


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))
