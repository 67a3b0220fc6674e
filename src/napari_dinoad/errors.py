"""The exception tree: every fault that a user can mend derives from `DinoadError`."""

from __future__ import annotations


class DinoadError(Exception):
    """A fault in the input or a setting, told in one line: what, expected, got, what to do.

    The command line prints the message without a traceback and ends with exit code 2.
    """


class SettingError(DinoadError, ValueError):
    """A setting is out of range, unknown, or does not go with another one."""


class ScanReadError(DinoadError):
    """A scan could not be read, or what it holds cannot be used."""


class BackboneError(DinoadError):
    """A backbone is unknown or cannot run on this input or device."""


class WeightsError(BackboneError):
    """Backbone weights were not found, or a file does not hold the weights it should."""


class ScorerError(DinoadError):
    """A scorer got data that it cannot be fitted on or cannot score."""


class ModelFileError(DinoadError):
    """A model file cannot be read, or does not fit what it is used with."""


class GeometryError(DinoadError):
    """Two arrays that should lie on one voxel grid do not, or a grid is unusable."""


class Cancelled(DinoadError):
    """The caller asked to stop; nothing half-done was left behind. Exit code 130."""
