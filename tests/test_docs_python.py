"""The Python of README.md and docs runs as its readers are told: with the files that it names, in order."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from napari_dinoad import DpmmSettings
from small_heads import make_head, save_head

ROOT = Path(__file__).parents[1]
SNIPPET = re.compile(r"```python\n(.*?)```", re.DOTALL)


def run_snippets(page, **names):
    """Run a page's snippets one after the other, and return the names that they leave."""
    names["__name__"] = "page"
    for snippet in SNIPPET.findall((ROOT / page).read_text(encoding="utf-8")):
        exec(compile(snippet, page, "exec"), names)
    return names


def save_slices(folder, name, values, marked):
    """Save slices (n, rows, columns) of 8 bits as a benchmark's images and masks."""
    for part, arrays in (("img", np.clip(values, 0, 255)), ("label", 255 * marked)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for index, array in enumerate(arrays):
            Image.fromarray(array.astype(np.uint8)).save(folder / part / f"{name}_{index}.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the pages name: normal scans, patients, a model, a benchmark."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "normals").mkdir()
    for seed in range(6):
        save_head(folder / "normals" / f"normal_{seed}.nii.gz", seed)
    for seed, name in enumerate(("patient", "other"), start=100):
        save_head(folder / f"{name}.nii.gz", seed, lesion=True)
    for split, seed in (("valid", 10), ("test", 11)):
        healthy, ill = (make_head(seed, lesion=lesion).T[6:10] for lesion in (False, True))
        save_slices(folder / "BraTS2021_slice" / split / "good", "a", healthy, healthy > 1e9)
        save_slices(folder / "BraTS2021_slice" / split / "Ungood", "b", ill, np.abs(ill - healthy) > 50)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        names = run_snippets("README.md")
    (folder / "brats.dinoad").write_bytes((folder / "t1.dinoad").read_bytes())
    assert len(names["masks"]) == 2
    assert names["mask"].regions()
    return folder


@pytest.fixture(autouse=True)
def in_the_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)


def test_readme(folder):
    assert (folder / "mask.nii.gz").exists()


def test_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run_snippets("docs/python.md")
    assert names["rows"]
    assert names["neg_log10_p"].shape == (8, 14, 14)
    assert names["found"].mask(0.01).regions()


def test_outputs():
    run_snippets("docs/outputs.md")
    for name in ("patient_mask.nii.gz", "patient_report.html", "patient_by_hand_mask.nii.gz"):
        assert Path("results", name).exists()


def test_fitting():
    assert run_snippets("docs/fitting.md")["model"].provenance.n_scans == 6


def test_evaluation():
    figures = run_snippets("docs/evaluation.md")["figures"]
    assert not figures.failed
    assert figures.values["pixel_auroc"] > 0.5


def test_scorers():
    drawn = torch.Generator().manual_seed(0)
    batches = [torch.randn(2, 5, 5, 8, generator=drawn) for _ in range(4)]
    names = run_snippets("docs/scorers.md", batches=batches, held_out=batches[:1], embeddings=batches[0])
    assert isinstance(names["scorer"].settings, DpmmSettings)
