# SPDX-License-Identifier: Apache-2.0
"""Files that are there whole, or as before."""

from __future__ import annotations

from pathlib import Path

import pytest

from acsgen.files import whole_file


def test_a_file_takes_the_place_of_another(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_text("old", encoding="utf-8")
    with whole_file(path) as beside:
        assert (beside.parent, beside.suffix) == (tmp_path, ".npz")
        beside.write_text("new", encoding="utf-8")
        assert path.read_text(encoding="utf-8") == "old"
    assert path.read_text(encoding="utf-8") == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_all_is_as_before(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "x"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(error), whole_file(path) as beside:
        beside.write_text("half", encoding="utf-8")
        raise error
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]
