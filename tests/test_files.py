from __future__ import annotations

from pathlib import Path

import pytest

from napari_dinoad.errors import DinoadError
from napari_dinoad.files import atomic_path, stem_of, write_json


def test_the_final_name_appears_only_when_all_went_well(tmp_path):
    final = tmp_path / "a.nii.gz"
    with atomic_path(final) as temporary:
        assert temporary.name.endswith(".nii.gz")
        temporary.write_text("new")
        assert not final.exists()
    assert final.read_text() == "new"
    assert list(tmp_path.iterdir()) == [final]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    final = tmp_path / "a.json"
    final.write_text("old")
    with pytest.raises(KeyError), atomic_path(final) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert final.read_text() == "old"
    assert list(tmp_path.iterdir()) == [final]


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(DinoadError, match="Cannot write"):
        write_json(tmp_path / "none" / "a.json", {})


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a.nii.gz", "a"), ("a.b.NII", "a.b"), ("x.JPG", "x"), ("plain", "plain"), (".nii", ".nii")],
)
def test_stem(name, stem):
    assert stem_of(Path(name)) == stem
