"""The exception tree: every fault that a user can mend derives from `DinoadError`."""

from __future__ import annotations

from typing import Any


def first_line(error: BaseException) -> str:
    """Return the first line of what an exception says, or its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


class DinoadError(Exception):
    """A fault in the input or a setting, told in one line: what, expected, got, what to do.

    The command line prints the message without a traceback and ends with exit code 2.
    """


class FileInUseError(DinoadError):
    """A file is there and cannot be replaced: another program has it open, as spreadsheets do on Windows."""


class SettingError(DinoadError, ValueError):
    """A setting is out of range, unknown, or does not go with another one."""


class ScanReadError(DinoadError):
    """A scan could not be read, or what it holds cannot be used."""


class SeveralFramesError(ScanReadError):
    """A scan has several frames (time points, echoes, channels, stacks), and none of them was named."""


class BackboneError(DinoadError):
    """A backbone is unknown or cannot run on this input or device."""


class WeightsError(BackboneError):
    """Backbone weights were not found, or a file does not hold the weights it should."""


class WeightsNotFoundError(WeightsError):
    """No weights of a backbone are on this machine, and none could be downloaded.

    Its message is one line with all of it; the attributes are for an interface that shows it as a list.

    Attributes
    ----------
    backbone : str
    licence : str
        Of the weights.
    looked_in : tuple of str
        Places that were searched, in order.
    download_error : str
        Why downloading failed.
    ways : tuple of str
        What can be done, one sentence each.
    """

    def __init__(
        self,
        backbone: str,
        licence: str,
        looked_in: tuple[str, ...],
        download_error: str,
        ways: tuple[str, ...],
    ) -> None:
        self.backbone = backbone
        self.licence = licence
        self.looked_in = looked_in
        self.download_error = download_error
        self.ways = ways
        numbered = " ".join(f"({number}) {way}" for number, way in enumerate(ways, start=1))
        super().__init__(
            f"Weights of {backbone} were not found. Looked in {'; '.join(looked_in)}. Downloading failed: "
            f"{download_error}. {len(ways)} ways to get them (licence of the weights: {licence}): {numbered} "
            "Without any weights, --backbone embedded works (no DINO)."
        )

    @property
    def in_short(self) -> str:
        """What is wrong, where the places and ways are shown elsewhere."""
        return f"The weights of {self.backbone} are not on this machine. Start again to see the ways to get them."

    def __reduce__(self) -> tuple[Any, ...]:
        # It crosses from the plugin's worker process, made again from its parts.
        parts = (self.backbone, self.licence, self.looked_in, self.download_error, self.ways)
        return type(self), parts


class ScorerError(DinoadError):
    """A scorer got data that it cannot be fitted on or cannot score."""


class ModelFileError(DinoadError):
    """A model file cannot be read, or does not fit what it is used with."""


class GeometryError(DinoadError):
    """Two arrays that should lie on one voxel grid do not, or a grid is unusable."""


class Cancelled(DinoadError):
    """The caller asked to stop; nothing half-done was left behind. Exit code 130."""
