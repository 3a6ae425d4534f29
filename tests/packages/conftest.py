# SPDX-License-Identifier: Apache-2.0
"""A small model, one input, and what the golden model says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from acsgen.golden import run
from acsgen.quantize.acsq import save_acsq
from tests.models import small_graph


@dataclass(frozen=True)
class Case:
    """A model's file, an input as bytes, and what the golden model makes of it."""

    model: Path
    input: bytes
    output: list[int]
    masks: list[int]

    def check(self, said: str) -> None:
        """`said` is what an example prints: "output: 1 2 3", "masks: 1 0", on one line or two."""
        words = said.split()
        first, second = words.index("output:"), words.index("masks:")
        assert [int(word) for word in words[first + 1 : second]] == self.output
        assert [int(word) for word in words[second + 1 : second + 1 + len(self.masks)]] == self.masks


def make_case(folder: Path, name: str, seed: int) -> Case:
    graph = small_graph(name, seed)
    save_acsq(graph, folder / f"{name}.acsq")
    x = np.random.default_rng(seed).integers(-128, 128, (20, *graph.shape(graph.input))).astype(np.int8)
    golden = run(graph, x)
    masks = golden[graph.gates[0].output]
    chosen = int(np.argmax((masks.sum(axis=1) > 0) & (masks.sum(axis=1) < masks.shape[1])))
    assert 0 < masks[chosen].sum() < masks.shape[1]
    output = golden[graph.output][chosen].ravel()
    return Case(folder / f"{name}.acsq", x[chosen].tobytes(), output.tolist(), masks[chosen].astype(int).tolist())


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Case]:
    return lambda name, seed: make_case(tmp_path_factory.mktemp("case"), name, seed)


@pytest.fixture(scope="session")
def case(cases: Callable[[str, int], Case]) -> Case:
    return cases("net", 3)
