"""The state of a mixture, as a model file holds it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from napari_dinoad.errors import ModelFileError
from napari_dinoad.scoring import make_scorer, scorer_from_state
from napari_dinoad.settings import DpmmSettings


@pytest.mark.parametrize("fault", ["zero variance", "negative variance", "no component"])
@pytest.mark.parametrize("covariance", ["diag", "spherical", "full"])
def test_a_mixture_that_has_no_density_is_refused(covariance, fault, make_clustered):
    settings = DpmmSettings(n_components=3, covariance=covariance, epochs=1)
    state = make_scorer(settings).fit([make_clustered(3, (4, 5), 8, 3, 0.6, seed=1)]).state()
    tensors = {name: tensor.clone() for name, tensor in state.tensors.items()}
    if fault == "no component":
        tensors = {name: tensor[:0] for name, tensor in tensors.items()}
    else:
        # One of them, of one component.
        first = tensors["covariances"].reshape(len(tensors["covariances"]), -1)[:1, :1]
        first.copy_(first * 0 if fault == "zero variance" else -first)
    with pytest.raises(ModelFileError, match="positive variances"):
        scorer_from_state(replace(state, tensors=tensors))
