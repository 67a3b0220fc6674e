"""The folder that scans are scored into, for the time of a run."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from napari_dinoad.machine.atomic_files import folder_to_fill
from napari_dinoad.machine.temporaries import remove_abandoned
from napari_dinoad.maps.pages.worklist import Worklist
from napari_dinoad.pipeline.detection.lone_run import lone_run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from napari_dinoad.images.scan_file import SkippedFile

__all__ = ["results_folder"]


@contextmanager
def results_folder(
    folder: Path, model: str, fpr: float, n_scans: int, unusable: Iterable[SkippedFile] = ()
) -> Iterator[Worklist]:
    """Make a folder of results, hold it for the block, and yield its worklist; what killed runs left is removed.

    Parameters
    ----------
    folder : Path
    model : str
        What the model is called.
    fpr : float
        Rate at which masks are drawn.
    n_scans : int
        How many scans are to be scored. With more than one, those that cannot be used too, no other run may score
        several into the folder.
    unusable : iterable of SkippedFile
        Listed as such.

    Raises
    ------
    DinoadError
        If another run holds the folder, or it cannot be written.
    """
    unusable = tuple(unusable)
    with ExitStack() as stack:
        remove_abandoned(stack.enter_context(folder_to_fill(folder)))
        if n_scans + len(unusable) > 1:
            stack.enter_context(lone_run(folder))
        worklist = stack.enter_context(Worklist(folder, model, fpr))
        for item in unusable:
            worklist.add_failed(item.path.name, item.reason)
        yield worklist
