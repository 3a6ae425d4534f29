# SPDX-License-Identifier: Apache-2.0
"""Files that are there whole, or as before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["whole_file"]


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path beside `path`, with its suffix, to write a file to; at the end that takes the place of `path`.

    After an error, or an interruption, `path` is as before and nothing is left beside it. Raises OSError.
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}.part{path.suffix}")
    try:
        yield beside
        with beside.open("rb") as stream:
            os.fsync(stream.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
