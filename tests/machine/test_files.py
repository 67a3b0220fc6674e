from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from napari_dinoad.machine.files import files_below


@pytest.mark.skipif(os.name != "posix", reason="links, and names of more than the system takes, can be made")
def test_files_below_a_folder_are_those_that_can_be_looked_at(tmp_path):
    for name in ("b/c.txt", "a.txt", ".hidden/d.txt", "b/.e.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "link.txt").symlink_to("a.txt")
    os.mkfifo(tmp_path / "pipe")
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        for _ in range(20):
            Path("d" * 250).mkdir()
            os.chdir("d" * 250)
        Path("f.txt").touch()
    finally:
        os.chdir(here)
    assert [str(path.relative_to(tmp_path)) for path in files_below(tmp_path)] == [
        "a.txt",
        "b/c.txt",
        "link.txt",
    ]
    assert files_below(tmp_path / "none") == []
    shutil.rmtree(tmp_path / ("d" * 250))
