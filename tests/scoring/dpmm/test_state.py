"""The state of a mixture, as a model file holds it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from napari_dinoad.errors import ModelFileError
from napari_dinoad.scoring import make_scorer, scorer_from_state
from napari_dinoad.settings import DpmmSettings


@pytest.fixture(params=["diag", "spherical", "full"])
def state(request, make_clustered):
    """Return the state of a fitted mixture of three components."""
    settings = DpmmSettings(n_components=3, covariance=request.param, epochs=1, merge=False)
    return make_scorer(settings).fit([make_clustered(3, (4, 5), 8, 3, 0.6, seed=1)]).state()


def test_a_mixture_in_which_a_component_holds_nothing_is_read(state):
    """The logarithm of its weight is −∞, which is refused of every other tensor."""
    tensors = {name: tensor.clone() for name, tensor in state.tensors.items()}
    tensors["log_weights"][-1] = -torch.inf
    again = scorer_from_state(replace(state, tensors=tensors))
    assert torch.equal(again.state().tensors["log_weights"], tensors["log_weights"])
    maps = torch.randn(1, 4, 5, 8, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(again.score(maps)).all()


def test_tensors_of_another_number_of_components_are_refused(state):
    for name, tensor in state.tensors.items():
        with pytest.raises(ModelFileError, match="expected shape"):
            scorer_from_state(replace(state, tensors={**state.tensors, name: tensor[:-1]}))


@pytest.mark.parametrize(
    ("value", "is_read"), [({"alpha": 2}, True), ({"alpha": True}, False), ({"n_patches": True}, False)]
)
def test_values_may_be_whole_numbers_and_not_true_or_false(state, value, is_read):
    changed = replace(state, settings={**state.settings, **value})
    if is_read:
        assert scorer_from_state(changed).state().settings["alpha"] == 2.0
    else:
        with pytest.raises(ModelFileError, match="got True"):
            scorer_from_state(changed)


@pytest.mark.parametrize("change", [{"n_components": 0}, {"n_components": "many"}, {"covariance": "round"}])
def test_saved_settings_that_are_none_are_refused(state, change):
    damaged = {**state.settings, "settings": {**state.settings["settings"], **change}}
    with pytest.raises(ModelFileError, match="saved settings are not valid"):
        scorer_from_state(replace(state, settings=damaged))


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
