"""The tool that takes the pictures of the documentation."""

import subprocess
import sys
from pathlib import Path

from patience import PATIENCE_S

TOOL = Path(__file__).parents[2] / "tools" / "screenshots.py"


def test_a_model_file_that_is_not_there_is_told_at_once(tmp_path):
    missing = tmp_path / "none.dinoad"
    command = [sys.executable, str(TOOL), str(tmp_path / "out"), "--model", str(missing)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(f"--model: there is no file {missing}")
    assert not (tmp_path / "out").exists()
