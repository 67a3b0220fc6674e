"""The npe2 reader: medical scans with their geometry; and whatever "Open study…" is given."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.errors import ScanReadError, SeveralFramesError
from napari_dinoad.gui.viewer.busy_pointer import busy_pointer
from napari_dinoad.gui.viewer.layer_scan import PATH_KEY, ScanSource
from napari_dinoad.gui.viewer.layers import (
    LayerTuple,
    colour_layer,
    layer_of_volume,
    layers_of_frames,
    placed,
    source_layer,
)
from napari_dinoad.images.discovery import discover_scans
from napari_dinoad.images.frame_counts import frames_in
from napari_dinoad.images.itk.headers import holds_segments
from napari_dinoad.images.itk.reader import read_itk_frames
from napari_dinoad.images.nifti_files import (
    colour_pixels,
    count_frames,
    holding_of,
    is_of_pixels,
    open_nifti,
    read_frames,
    read_labels,
    read_nifti,
)
from napari_dinoad.images.readers import (
    is_dicom,
    is_dicom_mask,
    read_dicom_series,
    read_frame,
    read_volume,
)
from napari_dinoad.images.scan_file import ScanFile
from napari_dinoad.images.volume import Geometry
from napari_dinoad.machine.file_names import DICOM_SUFFIXES, format_of, stem_of
from napari_dinoad.settings import ReadSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from nibabel.freesurfer.mghformat import MGHImage
    from nibabel.nifti1 import Nifti1Image

    from napari_dinoad.images.nifti_files import Holding
    from napari_dinoad.images.volume import Volume
    from napari_dinoad.progress import Progress

__all__ = ["get_reader", "read_layers", "scans_at"]

_N_LOOKED_AT = 20
"""Files of a folder that are looked at to tell whether it is one of DICOM; napari asks of every folder."""


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerTuple]] | None:
    """Return a reader when every path is a scan of a medical format, else None (npe2 reader contribution).

    A folder counts when it holds DICOM files itself; nothing is looked for beneath it.
    """
    paths = [Path(p) for p in ([path] if isinstance(path, str) else path)]
    return _read_all if paths and all(_is_medical(p) for p in paths) else None


def _is_medical(path: Path) -> bool:
    if format_of(path) in ("nifti", "itk") or path.name.lower().endswith(DICOM_SUFFIXES):
        return True
    try:
        if path.is_dir():
            files = (entry for entry in path.iterdir() if entry.is_file() and not entry.name.startswith("."))
            return any(is_dicom(entry) for entry in islice(files, _N_LOOKED_AT))
        return path.is_file() and not path.suffix and is_dicom(path)
    except OSError:
        # A folder that must not be read is left to others: napari asks every plugin, and an error would silence all.
        return False


def _read_all(path: str | list[str]) -> list[LayerTuple]:
    """Return the layers of all scans; of several, one that cannot be read is named and keeps out no other."""
    paths = [path] if isinstance(path, str) else path
    layers: list[LayerTuple] = []
    unread: list[ScanReadError] = []
    with busy_pointer():
        for scan in [scan for p in paths for scan in scans_at(Path(p))]:
            try:
                layers += read_layers(scan)
            except ScanReadError as error:
                unread.append(error)
    if unread and not layers:
        raise unread[0]
    if unread:
        from napari.utils.notifications import show_warning

        show_warning("\n".join(["Not opened:", *map(str, unread)]))
    return layers


def scans_at(
    path: Path, progress: Progress | None = None, reading: ReadSettings | None = None
) -> tuple[ScanFile, ...]:
    """Return the scans that a path stands for: one of a file, all those in a folder.

    Of a folder without a scan they are the masks and maps in it.

    ``progress`` is called as by `discover_scans`, which ``reading`` is for, too.

    Raises
    ------
    ScanReadError
        If there is none; the message says why.
    """
    if not path.is_dir():
        return (ScanFile(path, "volume", (), name=path.name),)
    found = discover_scans(path, reading, progress, all_frames=True)
    if not found.scans and not found.results:
        reasons = "; ".join(f"{item.path.name}: {item.reason}" for item in found.skipped[:2])
        raise ScanReadError(f"{path}: no scan was found in this folder. {reasons}".rstrip())
    return found.scans or found.results


def read_layers(scan: ScanFile | str | Path, *, resample: bool = False) -> list[LayerTuple]:
    """Read one scan as layer data tuples.

    Raises
    ------
    ScanReadError
        If it cannot be read; the message names it and says why.
    """
    scan = scan if isinstance(scan, ScanFile) else ScanFile(Path(scan), "volume", ())
    layers = _layers_of(scan, resample=resample)
    for _, arguments, _ in layers:
        arguments["metadata"][PATH_KEY] = scan.path.absolute()
    return layers


def _layers_of(scan: ScanFile, *, resample: bool) -> list[LayerTuple]:
    path = scan.path
    if scan.series is None and path.is_file() and is_dicom_mask(path):
        return _read_segments(path)
    if format_of(path) == "nifti" and path.is_file():
        image = open_nifti(path)
        n_frames = count_frames(image)
        holding = holding_of(image) if scan.holding == "scan" else scan.holding
        if n_frames > 1:
            values, source = _read_series(path, n_frames)
            if holding != "scan":
                return [_as_result(values, source, holding)]
            is_colour = values.ndim > len(source.geometry.canonical_shape) + 1
            return [colour_layer(values, source) if is_colour else source_layer(values, source)]
        if holding != "scan":
            return [_read_result(path, image, holding)]
    if format_of(path) == "itk" and path.is_file() and holds_segments(path):
        return _read_layers_of_segments(path)
    try:
        return [layer_of_volume(_read_one(scan, resample))]
    except SeveralFramesError:
        if format_of(path) == "itk":
            return layers_of_frames(read_itk_frames(path))
        n_to_read = scan.n_frames or frames_in(path)
        if n_to_read is None:
            raise
    return layers_of_frames([_read_frame(scan, frame, resample) for frame in range(n_to_read)])


def _read_one(scan: ScanFile, resample: bool) -> Volume:
    if scan.series is None and not scan.images:
        return read_volume(scan.path, resample=resample)
    return scan.read(ReadSettings(resample=resample))


def _read_frame(scan: ScanFile, frame: int, resample: bool) -> Volume:
    """Return one frame of several; it may be empty, as before the tracer comes, or a channel of nothing."""
    if scan.series is None:
        return read_frame(scan.path, frame, resample=resample)
    return read_dicom_series(
        scan.series, scan.path, scan.name, frame=frame, resample=resample, may_be_empty=True
    )


def _read_result(path: Path, image: Nifti1Image | MGHImage, holding: Holding) -> LayerTuple:
    """Return a mask or map; one of a picture or stack in pixels, as the writers leave it, lies on these again."""
    # Not `read_volume`, which refuses what is the same everywhere: a mask may be empty.
    volume = read_labels(path) if holding == "mask" else read_nifti(path)
    if is_of_pixels(image.header, image.affine):
        geometry = Geometry.of_pixels(tuple(int(n) for n in image.shape))
        values = geometry.to_canonical(volume.geometry.to_stored(volume.values))
        volume = replace(volume, values=np.ascontiguousarray(values), geometry=geometry)
    return _as_result(volume.values, ScanSource.of(volume), holding)


def _read_segments(path: Path) -> list[LayerTuple]:
    """Return the segments of a DICOM file as labels, which say in the status bar what they are."""
    from napari_dinoad.images.dicom.segmentations import read_segmentation

    found = read_segmentation(path)
    layers = []
    for place, one in enumerate(found, start=1):
        name = stem_of(path) if len(found) == 1 else f"{stem_of(path)} · {place}"
        labels, arguments, kind = _as_result(one.labels, ScanSource(one.geometry, name), "mask")
        arguments["features"] = {"index": [*one.segments], "segment": [*one.segments.values()]}
        layers.append((labels, arguments, kind))
    return layers


def _read_layers_of_segments(path: Path) -> list[LayerTuple]:
    """Return a segmentation of 3D Slicer as labels: one for each of its layers, in which segments may overlap."""
    volumes = read_itk_frames(path)
    layers = []
    for place, one in enumerate(volumes, start=1):
        name = one.name if len(volumes) == 1 else f"{one.name} · {place}"
        layers.append(_as_result(one.values, replace(ScanSource.of(one), name=name), "mask"))
    return layers


def _as_result(values: np.ndarray, source: ScanSource, holding: Holding) -> LayerTuple:
    # napari's layers are loaded here: scans are read without them.
    from napari_dinoad.gui.viewer.looks import as_saved_result

    return as_saved_result(*placed(values, source), holding)


def _read_series(path: Path, n_frames: int) -> tuple[np.ndarray, ScanSource]:
    """Return canonical values (frame, z, y, x), or colours (…, 3); the file is unpacked once for all frames."""
    first = read_nifti(path, frame=0, to_end=False)
    stored = read_frames(path)
    stored = stored.reshape(*stored.shape[:3], n_frames)
    if stored.dtype.names is None:
        frames = [first.geometry.to_canonical(stored[..., frame]) for frame in range(n_frames)]
    else:
        colours = (colour_pixels(stored[..., frame]) for frame in range(n_frames))
        frames = [first.geometry.colours_to_canonical(frame) for frame in colours]
    source = replace(ScanSource.of(first), notes=())
    return np.stack(frames), source
