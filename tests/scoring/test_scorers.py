"""What all scorers hold alike: the protocol, state, determinism, resuming, and degenerate input."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest
import torch

from napari_dinoad.errors import Cancelled, ModelFileError, ScorerError, SettingError
from napari_dinoad.scoring import SCORER_NAMES, make_scorer, scorer_from_state
from napari_dinoad.scoring.patches import in_chunks
from napari_dinoad.scoring.protocol import ScorerState
from napari_dinoad.settings import ArCnnSettings, DpmmSettings, MemoryBankSettings

AR_CNN = ArCnnSettings(
    epochs=4, bottleneck_channels=4, hidden_channels=8, batch_maps=3, dilations=(1, 2), noise_probability=0.5
)
DPMM = DpmmSettings(n_components=6, epochs=4, tolerance=0)
CHOICES = {
    "dpmm": DPMM,
    "dpmm full": replace(DPMM, covariance="full"),
    "dpmm spherical": replace(DPMM, covariance="spherical", score="mahalanobis"),
    "dpmm ema": replace(DPMM, update="ema", score="negative-log-likelihood"),
    "dpmm decay": replace(DPMM, update="decay"),
    "ar-cnn": AR_CNN,
    "ar-cnn causal": replace(AR_CNN, context="causal", standardise=False),
    "ar-cnn paper": replace(AR_CNN, network="paper", dilations=(1,)),
    "ar-cnn positions": replace(AR_CNN, normalise_positions=True),
    "memory-bank": MemoryBankSettings(n_patches=30),
    "memory-bank coreset": MemoryBankSettings(n_patches=30, reduction="coreset", n_neighbours=3),
    "memory-bank random": MemoryBankSettings(n_patches=30, reduction="random"),
}
EPOCHAL = [name for name in CHOICES if not name.startswith("memory")]


@pytest.fixture(params=CHOICES)
def chosen(request):
    return CHOICES[request.param]


@pytest.fixture
def batches(make_clustered):
    maps = make_clustered(7, (4, 5), 8, 5, 0.6, seed=1)
    return [maps[:3].half(), maps[3:6], maps[6:]]


@pytest.fixture
def held_out(make_clustered):
    return [make_clustered(10, (4, 5), 8, 5, 0.6, seed=1)[7:]]


def same_state(a, b):
    return (
        a.settings == b.settings
        and dict(a.history) == dict(b.history)
        and a.tensors.keys() == b.tensors.keys()
        and all(torch.equal(a.tensors[key], b.tensors[key]) for key in a.tensors)
    )


def as_saved(state):
    """A state as a file gives it back: settings and history through JSON, tensors copied."""
    settings, history = json.loads(json.dumps([dict(state.settings), dict(state.history)]))
    return ScorerState(state.name, settings, {k: v.clone() for k, v in state.tensors.items()}, history)


def test_scores_are_finite_float32_of_the_grid(chosen, batches):
    scorer = make_scorer(chosen).fit(batches)
    assert scorer.name in SCORER_NAMES
    for embeddings in (batches[0], batches[1][:1], torch.randn(2, 4, 5, 8), torch.randn(1, 3, 9, 8)):
        scores = scorer.score(embeddings)
        assert scores.dtype == torch.float32
        assert scores.shape == embeddings.shape[:3]
        assert torch.isfinite(scores).all()
    assert scorer.score(torch.zeros(0, 4, 5, 8)).shape == (0, 4, 5)


def test_a_score_does_not_depend_on_the_batch(chosen, batches):
    scorer = make_scorer(chosen).fit(batches)
    maps = torch.cat([batch.float() for batch in batches])
    single = torch.cat([scorer.score(maps[i : i + 1]) for i in range(len(maps))])
    torch.testing.assert_close(scorer.score(maps), single, rtol=1e-4, atol=1e-5)


def test_how_many_patches_fit_into_memory_changes_no_score(chosen, batches, monkeypatch):
    scorer = make_scorer(chosen).fit(batches)
    whole = scorer.score(batches[1])
    for module in ("dpmm.scorer", "ar_cnn.training", "memory_bank"):
        monkeypatch.setattr(f"napari_dinoad.scoring.{module}.in_chunks", partial(in_chunks, budget=1))
    torch.testing.assert_close(scorer.score(batches[1]), whole, rtol=1e-4, atol=1e-5)


def test_the_same_seed_gives_the_same_bytes_and_no_global_seed_is_touched(chosen, batches, held_out):
    torch.manual_seed(123)
    before = torch.get_rng_state()
    first = make_scorer(chosen).fit(batches, validation=held_out).state()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(456)
    assert same_state(first, make_scorer(chosen).fit(batches, validation=held_out).state())
    other = make_scorer(replace(chosen, seed=1)).fit(batches, validation=held_out).state()
    assert not same_state(first, other)


def test_state_rebuilds_the_scorer(chosen, batches, held_out):
    scorer = make_scorer(chosen).fit(batches, validation=held_out)
    state = scorer.state()
    assert all(t.device.type == "cpu" and t.is_contiguous() for t in state.tensors.values())
    rebuilt = scorer_from_state(as_saved(state))
    assert rebuilt.settings == chosen
    assert same_state(rebuilt.state(), state)
    assert torch.equal(rebuilt.score(batches[1]), scorer.score(batches[1]))


@pytest.mark.parametrize("name", EPOCHAL)
@pytest.mark.parametrize("with_validation", [True, False])
def test_a_resumed_fit_ends_in_the_same_bytes(name, with_validation, batches, held_out):
    chosen, validation = CHOICES[name], held_out if with_validation else None
    states = []
    undisturbed = make_scorer(chosen).fit(batches, validation=validation, checkpoint=states.append).state()
    assert len(states) >= 2
    for state in states:
        resumed = scorer_from_state(as_saved(state))
        if not state.settings["finished"]:
            assert torch.isfinite(resumed.score(batches[1])).all()
            resumed.fit(batches, validation=validation)
            assert same_state(resumed.state(), undisturbed)


def test_a_fitted_scorer_fits_anew(chosen, batches, make_clustered):
    others = [make_clustered(4, (4, 5), 8, 5, 0.6, seed=2)]
    scorer = make_scorer(chosen).fit(others).fit(batches)
    assert same_state(scorer.state(), make_scorer(chosen).fit(batches).state())


def test_progress_is_told_and_cancelling_leaves_the_scorer_as_it_was(chosen, batches):
    scorer = make_scorer(chosen).fit(batches)
    before = scorer.state()
    events = []
    scorer.fit(batches, progress=events.append)
    assert events[-1].metrics
    assert all(0 < event.done <= event.total for event in events)

    for stop_at in range(1, len(events) + 1):
        seen = []

        def cancel(event, seen=seen, stop_at=stop_at):
            seen.append(event)
            if len(seen) >= stop_at:
                raise Cancelled

        with pytest.raises(Cancelled):
            scorer.fit(batches, progress=cancel)
        assert same_state(scorer.state(), before)
    unfitted = make_scorer(chosen)
    with pytest.raises(Cancelled):
        unfitted.fit(batches, progress=cancel)
    with pytest.raises(ScorerError, match="call fit first"):
        unfitted.score(batches[0])


def test_a_mixture_tells_that_it_finds_its_first_clusters(batches):
    """For some seconds a full bar of the sampling stood there, and Cancel did nothing."""
    stages = []
    make_scorer(DpmmSettings(n_components=6)).fit(batches, progress=lambda event: stages.append(event.stage))
    clusters = "Finding the first clusters"
    assert stages.count(clusters) == 3
    first, last = stages.index(clusters), len(stages) - stages[::-1].index(clusters)
    assert set(stages[:first]) == {"Sampling normal patches"}
    assert set(stages[last:]) == {"Fitting DPMM"}


def test_an_unfitted_scorer_says_so(chosen):
    for use in (lambda s: s.score(torch.zeros(1, 2, 2, 8)), lambda s: s.state()):
        with pytest.raises(ScorerError, match="call fit first"):
            use(make_scorer(chosen))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_not_a_number_is_refused(chosen, bad, batches):
    broken = batches[1].clone()
    broken[1, 2, 3, 4] = bad
    with pytest.raises(ScorerError, match="finite values, got NaN or infinity in 1 of 60 patches"):
        make_scorer(chosen).fit([batches[0], broken])
    scorer = make_scorer(chosen).fit(batches)
    with pytest.raises(ScorerError, match="finite"):
        scorer.score(broken)


def test_unusable_batches_are_refused(chosen, batches):
    scorer = make_scorer(chosen)
    with pytest.raises(ScorerError, match="one-shot"):
        scorer.fit(iter(batches))
    for nothing in ([], [torch.zeros(0, 4, 5, 8)]):
        with pytest.raises(ScorerError, match="got none"):
            scorer.fit(nothing)
    with pytest.raises(ScorerError, match="8 channels as in the fit, got 7"):
        scorer.fit([batches[0], torch.zeros(1, 4, 5, 7)])
    with pytest.raises(ScorerError, match=r"got torch\.int64"):
        scorer.fit([torch.zeros(1, 4, 5, 8, dtype=torch.int64)])
    with pytest.raises(ScorerError, match=r"\(n, gh, gw, d\)"):
        scorer.fit([torch.zeros(20, 8)])
    scorer.fit(batches)
    with pytest.raises(ScorerError, match="8 channels as in the fit, got 7"):
        scorer.score(torch.zeros(1, 4, 5, 7))


@pytest.mark.parametrize("value", [0.0, 1.0, -3e4, 1e-20])
def test_constant_embeddings_are_normal_and_others_are_not(chosen, value):
    maps = torch.full((3, 4, 4, 8), value)
    scorer = make_scorer(chosen).fit([maps], validation=[maps])
    normal = scorer.score(maps)
    assert torch.isfinite(normal).all()
    foreign = maps.clone()
    foreign[:, 1, 1] = torch.tensor([1.0, -1.0] * 4) * max(1.0, abs(value))
    scores = scorer.score(foreign)
    assert torch.isfinite(scores).all()
    # A patch without a direction is no nearer to another one; a few steps do not teach a network a raw offset.
    has_direction = value != 0 or isinstance(chosen, ArCnnSettings)
    if has_direction and getattr(chosen, "standardise", True):
        assert float(scores[:, 1, 1].min()) > float(normal.max())


def test_fewer_patches_than_components(chosen):
    maps = torch.randn(1, 1, 2, 8, generator=torch.Generator().manual_seed(0))
    scorer = make_scorer(chosen).fit([maps])
    assert torch.isfinite(scorer.score(maps)).all()
    assert torch.isfinite(scorer.score(torch.randn(2, 4, 5, 8))).all()


def test_empty_batches_between_others_change_nothing(chosen, batches):
    with_empty = [batches[0], torch.zeros(0, 4, 5, 8), *batches[1:]]
    assert torch.isfinite(make_scorer(chosen).fit(with_empty).score(batches[0])).all()


def test_an_empty_validation_set_is_refused(batches):
    for chosen in (DPMM, AR_CNN):
        with pytest.raises(ScorerError, match="validation"):
            make_scorer(chosen).fit(batches, validation=[])


def test_damaged_states_are_refused(chosen, batches):
    states = []
    scorer = make_scorer(chosen).fit(batches, checkpoint=states.append)
    for state in (scorer.state(), states[0]):
        for key, tensor in state.tensors.items():
            without = {k: v for k, v in state.tensors.items() if k != key}
            with pytest.raises(ModelFileError, match="got none"):
                scorer_from_state(replace(state, tensors=without))
            with pytest.raises(ModelFileError, match="expected"):
                scorer_from_state(replace(state, tensors={**state.tensors, key: tensor[None]}))
            for value in (torch.nan, torch.inf, 1j, *(() if key.endswith("log_weights") else (-torch.inf,))):
                broken = torch.full(tensor.shape, value)
                with pytest.raises(ModelFileError, match="NaN or infinity"):
                    scorer_from_state(replace(state, tensors={**state.tensors, key: broken}))
        for key in state.settings:
            without = {k: v for k, v in state.settings.items() if k != key}
            with pytest.raises(ModelFileError):
                scorer_from_state(replace(state, settings=without))
        newer = {**state.settings, "settings": {**state.settings["settings"], "new_option": 1}}
        with pytest.raises(ModelFileError, match="newer version"):
            scorer_from_state(replace(state, settings=newer))
    with pytest.raises(ModelFileError, match="got 'no-such-scorer'"):
        scorer_from_state(replace(scorer.state(), name="no-such-scorer"))
    other = "dpmm" if scorer.name != "dpmm" else "memory-bank"
    with pytest.raises(ModelFileError):
        type(scorer).from_state(replace(scorer.state(), name=other))


def test_settings_of_no_scorer_are_refused():
    with pytest.raises(SettingError, match="DpmmSettings"):
        make_scorer("dpmm")


def test_unindexable_batches_are_read_in_order(chosen, batches):
    class Stream:
        def __iter__(self):
            return iter(batches)

    assert torch.isfinite(make_scorer(chosen).fit(Stream()).score(batches[1])).all()
