# SPDX-License-Identifier: Apache-2.0
"""The files that the figures go to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def update_json(path: Path, figures: Mapping[str, Any]) -> None:
    """Writes figures into a JSON file, beside what other measurements left there, tables into tables."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for name, value in figures.items():
        table = isinstance(value, Mapping) and isinstance(document.get(name), dict)
        document[name] = {**document[name], **value} if table else value
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
