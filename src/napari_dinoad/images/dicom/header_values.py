"""Values of a DICOM header: of a frame's functional groups, of the shared ones, or of the header itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["NO_NUMBER", "Lookup", "first_item", "listed", "numbers_of", "plain_text", "uid_of"]

NO_NUMBER = (ValueError, TypeError, OverflowError)
"""What conversion raises of a text where a number should be."""

_LONGEST_TEXT = 64
"""Characters of the standard's value representation LO."""

_UID = re.compile(r"[\w.-]{0,64}", re.ASCII)


@dataclass(frozen=True)
class Lookup:
    """A tag of a frame: in its own functional group, the shared one, or the header itself."""

    header: Dataset
    shared: Dataset | None
    own: Dataset | None

    def value(self, sequence: str, *keywords: str) -> Any:
        """Return the value of the first of these tags that is there; None where there is none.

        ``sequence`` is that of the functional group which would hold it.
        """
        for group in (self.own, self.shared):
            item = None if group is None else first_item(group, sequence)
            for keyword in keywords:
                if item is not None and item.get(keyword) is not None:
                    return item.get(keyword)
        for keyword in keywords:
            if self.header.get(keyword) is not None:
                return self.header.get(keyword)
        return None

    def numbers(self, sequence: str, keyword: str, length: int) -> tuple[float, ...] | None:
        """Return so many numbers, or None where there are not as many; `ValueError` if one is not finite."""
        return numbers_of(self.value(sequence, keyword), length)

    def rank(self) -> tuple[Any, ...]:
        """Return what tells images at one position from each other, by its weight.

        A multi-frame file's own dimensions come first. They count positions too, but those are the same here.
        """
        content = "FrameContentSequence"
        return (
            tuple(int(value) for value in listed(self.value(content, "DimensionIndexValues"))),
            self.number(content, "TemporalPositionIndex", "TemporalPositionIdentifier"),
            self.number("", "FrameReferenceTime"),
            self.number("MREchoSequence", "EffectiveEchoTime", "EchoTime"),
            self.number("MRDiffusionSequence", "DiffusionBValue"),
            self.number("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime", "TriggerTime"),
            self.acquisition(),
        )

    def acquisition(self) -> float:
        """Return the number of the acquisition, 0 where there is none."""
        return self.number("FrameContentSequence", "FrameAcquisitionNumber", "AcquisitionNumber")

    def frame_type(self) -> tuple[str, ...]:
        """Return what kind of image a frame is (magnitude, phase, …), as text."""
        kinds = []
        for sequence in (
            "MRImageFrameTypeSequence",
            "CTImageFrameTypeSequence",
            "PETFrameTypeSequence",
            "USImageDescriptionSequence",
        ):
            for keyword in ("FrameType", "ComplexImageComponent", "DataType"):
                value = self.value(sequence, keyword)
                kinds += [str(part).upper() for part in listed(value)]
        return tuple(kinds)

    def gradient(self) -> tuple[float, ...] | None:
        """Return the direction of the diffusion gradient; None where there is none, or no numbers in its place."""
        keyword = "DiffusionGradientOrientation"
        for item in self.value("MRDiffusionSequence", "DiffusionGradientDirectionSequence") or (self.header,):
            try:
                direction = numbers_of(item.get(keyword), 3)
            except NO_NUMBER:
                return None
            return direction if direction is not None and any(direction) else None
        return None

    def number(self, sequence: str, *keywords: str) -> float:
        """Return a number that images are ordered by; 0 where there is none, or text in its place."""
        try:
            value = float(self.value(sequence, *keywords) or 0)
        except NO_NUMBER:
            return 0.0
        return value if isfinite(value) else 0.0


def numbers_of(value: Any, length: int) -> tuple[float, ...] | None:
    """Return the numbers of a tag, or None where there are not as many; `ValueError` if one is not finite."""
    numbers = tuple(float(part) for part in listed(value))
    if not all(map(isfinite, numbers)):
        raise ValueError("a number that is not finite")
    return numbers if len(numbers) == length else None


def plain_text(value: Any) -> str:
    """Return a text of a header, or nothing when it cannot be one: a damaged length may have swallowed other tags."""
    text = " ".join(str(value or "").split())
    return text if text.isprintable() and len(text) <= _LONGEST_TEXT else ""


def uid_of(header: Dataset, keyword: str) -> str:
    """Return a UID, empty where there is none; `ValueError` if the text cannot be one."""
    uid = str(header.get(keyword) or "")
    if not _UID.fullmatch(uid):
        raise ValueError(keyword)
    return uid


def first_item(dataset: Dataset, sequence: str) -> Dataset | None:
    """Return the first item of a sequence; None where it is missing, empty or not named."""
    items = dataset.get(sequence) if sequence else None
    return items[0] if items else None


def listed(value: Any) -> list[Any]:
    """Return the values of a tag as a list: none, one, or several."""
    if value is None:
        return []
    return [value] if isinstance(value, str | float | int) else list(value)
