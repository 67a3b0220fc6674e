"""What the 2D images of a folder are proposed to be, beside a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_dinoad.gui.models.model_library import ModelSummary

__all__ = ["MeantImages"]


class MeantImages:
    """What the 2D images of folders are taken for: what the model was fitted on, or what was chosen beside it."""

    def __init__(self) -> None:
        self._chosen: dict[bool, bool] = {}

    def proposed(self, model: ModelSummary | None) -> bool:
        """Return whether they are proposed to be the slices of one scan, beside this model."""
        of_model = _were_slices(model)
        return self._chosen.get(of_model, of_model)

    def choose(self, stacks_folders: bool, model: ModelSummary | None) -> None:
        """Remember what was chosen beside a model, for all models whose normal scans were read as its were."""
        self._chosen[_were_slices(model)] = stacks_folders


def _were_slices(model: ModelSummary | None) -> bool:
    return model is not None and model.stacks_folders
