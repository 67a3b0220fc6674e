"""What the autoregressive network may look at, and what its training must achieve."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from napari_dinoad.errors import ScorerError, SettingError
from napari_dinoad.scoring.ar_cnn import training as ar_cnn_training
from napari_dinoad.scoring.ar_cnn.network import (
    CENTRE,
    EARLIER,
    RING,
    TapConvolution,
    dilations_for,
    make_network,
)
from napari_dinoad.scoring.ar_cnn.scorer import ArCnnScorer
from napari_dinoad.scoring.ar_cnn.training import Census, Training, groups_of_maps, take_census
from napari_dinoad.scoring.patches import in_chunks, seeded_generator
from napari_dinoad.settings import ArCnnSettings
from pretended_gpu import pretended_gpu

SMALL = ArCnnSettings(bottleneck_channels=5, hidden_channels=7, dilations=(1, 2, 4))
NETWORKS = {
    "rings": SMALL,
    "rings, one": replace(SMALL, dilations=(1,)),
    "rings, mirrored": replace(SMALL, mirrored=True),
    "paper": replace(SMALL, network="paper", dilations=(4,)),
    "paper, dense first": replace(SMALL, network="paper", dilations=(1, 2, 4, 4, 4)),
}


def influence(network, grid, n_channels=3):
    """Whether output patch i depends on input patch j: (n, n) bool, by the Jacobian at several points."""
    n = grid[0] * grid[1]
    depends = torch.zeros(n, n, dtype=torch.bool)
    for seed in range(3):
        x = torch.randn(1, n_channels, *grid, generator=torch.Generator().manual_seed(seed))
        jacobian = torch.autograd.functional.jacobian(network, x)
        blocks = jacobian.reshape(n_channels, n, n_channels, n)
        depends |= (blocks != 0).any(0).any(1)
    return depends


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("context", ["two-sided", "causal"])
@pytest.mark.parametrize("grid", [(4, 5), (9, 7), (1, 6), (2, 2)])
def test_no_output_sees_its_own_patch_and_causal_ones_see_none_later(name, context, grid):
    settings = replace(NETWORKS[name], context=context)
    network = make_network(settings, 3, grid, seeded_generator(1))
    depends = influence(network, grid)
    assert not depends.diagonal().any()
    if context == "causal":
        assert not depends.triu().any()


@pytest.mark.parametrize("context", ["two-sided", "causal"])
def test_every_near_neighbour_is_seen(context):
    """The nearest patches are looked at, whatever the dilations after the first."""
    grid = (7, 7)
    for name in ("rings", "paper, dense first"):
        depends = influence(
            make_network(replace(NETWORKS[name], context=context), 3, grid, seeded_generator(2)), grid
        )
        centre = 3 * 7 + 3
        earlier = {(2, 2), (2, 3), (2, 4), (3, 2)}
        later = {(3, 4), (4, 2), (4, 3), (4, 4)}
        seen = {divmod(int(j), 7) for j in depends[centre].nonzero()}
        assert earlier <= seen
        assert (later <= seen) == (context == "two-sided")


@pytest.mark.parametrize("size", [16, 28])
def test_a_mirrored_network_sees_the_place_on_the_other_side_but_not_near_the_middle(size):
    settings = replace(SMALL, mirrored=True, dilations=(1,))
    distance = {16: 1, 28: 2}[size]
    network = make_network(settings, 1, (size, size), seeded_generator(3))
    for column in range(size):
        x = torch.randn(1, 1, 5, size, generator=seeded_generator(4)).requires_grad_()
        (gradient,) = torch.autograd.grad(network(x)[0, 0, 2, column], x)
        seen = {tuple(place) for place in gradient[0, 0].nonzero().tolist()}
        near = {(2 + dy, column + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} - {(2, column)}
        other, steps = size - 1 - column, (-distance, 0, distance)
        there = {(2 + dy, other + dx) for dy in steps for dx in steps}
        is_far = abs(other - column) >= distance + 2
        wanted = near | there if is_far else near
        assert seen == {(row, place) for row, place in wanted if 0 <= place < size}
        assert 0 < column < size - 1 or is_far


def test_only_rings_that_look_all_around_are_mirrored():
    for settings in (replace(SMALL, context="causal"), replace(SMALL, network="paper", dilations=(1,))):
        plain, mirrored = (
            make_network(replace(settings, mirrored=m), 3, (9, 9), seeded_generator(0)).state_dict()
            for m in (False, True)
        )
        assert plain.keys() == mirrored.keys()


def test_what_stands_on_one_side_only_is_found_by_the_other():
    """Each half is noise, which nothing beside it tells, and both are alike."""
    generator = torch.Generator().manual_seed(5)
    half = torch.randn(48, 8, 4, 3, generator=generator)
    maps = torch.cat([half, half.flip(2)], dim=2)
    changed = maps[:1].clone()
    changed[0, 4, 1] = -changed[0, 4, 1]
    chosen = ArCnnSettings(hidden_channels=32, epochs=20, learning_rate=5e-3, noise_probability=0.0)
    plain, mirrored = (
        ArCnnScorer(replace(chosen, mirrored=m)).fit(maps.split(8)).score(maps[40:]).mean()
        for m in (False, True)
    )
    assert mirrored < 0.6 * plain
    scores = ArCnnScorer(replace(chosen, mirrored=True)).fit(maps[8:].split(8)).score(changed)[0]
    assert set(scores.flatten().topk(2).indices.tolist()) == {4 * 8 + 1, 4 * 8 + 6}


def test_a_scorer_of_before_there_were_mirrored_places_scores_the_same(make_smooth):
    maps = [make_smooth(4, (6, 6), 3, seed=1)]
    fitted = ArCnnScorer(replace(SMALL, epochs=1)).fit(maps)
    state = fitted.state()
    settings = {key: value for key, value in state.settings["settings"].items() if key != "mirrored"}
    before = replace(state, settings=state.settings | {"settings": settings})
    assert torch.equal(ArCnnScorer.from_state(before).score(maps[0]), fitted.score(maps[0]))


def test_a_two_sided_network_sees_three_rings():
    network = make_network(SMALL, 3, (9, 9), seeded_generator(3))
    seen = influence(network, (9, 9))[4 * 9 + 4].reshape(9, 9).nonzero() - 4
    wanted = {(d * dy, d * dx) for d in (1, 2, 4) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} - {(0, 0)}
    assert {tuple(offset) for offset in seen.tolist()} == wanted


@pytest.mark.parametrize(
    ("network", "grid", "wanted"),
    [
        ("rings", (16, 16), (2, 4)),
        ("rings", (28, 28), (3, 6)),
        ("rings", (40, 32), (4, 7)),
        ("rings", (5, 9), (1,)),
        ("paper", (32, 32), (4,)),
        ("paper", (1, 6), (1,)),
    ],
)
def test_rings_lie_as_far_in_the_picture_at_any_resolution(network, grid, wanted):
    settings = ArCnnSettings(network=network, hidden_channels=8)
    assert dilations_for(settings, grid) == wanted
    assert dilations_for(replace(settings, dilations=(3,)), grid) == (3,)
    network = make_network(settings, 3, grid, seeded_generator(0))
    dilations = {m.dilation for m in network.modules() if isinstance(m, TapConvolution) and m.n_live > 1}
    assert dilations == set(wanted)


def test_dead_taps_stay_dead_in_training(make_smooth):
    maps = [make_smooth(4, (6, 6), 3, seed=1)]
    for name, chosen in NETWORKS.items():
        scorer = ArCnnScorer(replace(chosen, epochs=3, context="causal", batch_maps=2)).fit(maps)
        assert not influence(scorer._training.best, (4, 5)).triu().any(), name


@pytest.mark.parametrize("dilation", [1, 3])
@pytest.mark.parametrize("taps", [CENTRE, EARLIER, RING, (*EARLIER, *CENTRE), ((0, 1), (1, 1))])
def test_a_layer_is_the_sum_over_its_taps_and_zero_lies_beyond_the_grid(taps, dilation):
    layer = TapConvolution(2, 3, taps, dilation)
    layer.reset(seeded_generator(5))
    layer.bias.data = torch.tensor([0.5, -1.0, 2.0])
    x = torch.randn(1, 2, 5, 6, generator=seeded_generator(6))
    top, left = (min(0, *steps) for steps in zip(*taps, strict=True))
    wanted = torch.zeros(1, 3, 5, 6)
    for row, column in np.ndindex(5, 6):
        wanted[0, :, row, column] = layer.bias.data
        for dy, dx in taps:
            there = row + dilation * dy, column + dilation * dx
            if 0 <= there[0] < 5 and 0 <= there[1] < 6:
                weight = layer.weight.data[:, :, dy - top, dx - left]
                wanted[0, :, row, column] += weight @ x[0, :, there[0], there[1]]
    torch.testing.assert_close(layer(x).detach(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("taps", [CENTRE, EARLIER, RING])
def test_fresh_weights_have_a_third_of_the_variance_that_keeps_the_size_of_what_goes_in(taps):
    layer = TapConvolution(40, 100, taps)
    layer.reset(seeded_generator(0))
    live = layer.weight.data[(layer.live > 0).expand_as(layer.weight)]
    assert float(live.var()) == pytest.approx(1 / (3 * 40 * len(taps)), rel=0.05)
    assert float(live.mean()) == pytest.approx(0, abs=0.02 * float(live.std()) + 1e-3)
    assert not layer.bias.data.any()


def test_a_causal_layer_computes_two_rows_of_taps_not_three():
    layer = TapConvolution(4, 4, ((-1, -1), (-1, 0), (-1, 1), (0, -1)), dilation=3)
    assert layer.weight.shape[2:] == (2, 3)
    assert layer(torch.zeros(1, 4, 5, 6)).shape == (1, 4, 5, 6)


def test_the_papers_network_has_its_layers():
    network = make_network(
        ArCnnSettings(network="paper", dilations=(4,), context="causal"), 384, (32, 32), seeded_generator(0)
    )
    layers = [m for m in network.modules() if isinstance(m, TapConvolution)]
    widths = [layer.weight.shape[1] for layer in layers] + [layers[-1].weight.shape[0]]
    assert widths == [384, 256, 256, 256, 256, 384]
    assert [layer.n_live for layer in layers] == [4, 5, 5, 5, 5]
    assert {layer.dilation for layer in layers} == {4}


def test_a_bottleneck_is_no_wider_than_embeddings_can_fill():
    chosen = ArCnnSettings(bottleneck_channels=96)
    assert make_network(chosen, 51, (16, 16), seeded_generator(0)).reduce.weight.shape[:2] == (52, 51)
    assert make_network(chosen, 384, (16, 16), seeded_generator(0)).reduce.weight.shape[:2] == (96, 384)


@pytest.mark.parametrize("network", ["rings", "paper"])
@pytest.mark.parametrize("context", ["two-sided", "causal"])
def test_training_loss_falls_below_that_of_the_mean(network, context, make_smooth):
    maps = make_smooth(24, (10, 10), 12, seed=2)
    dilations = (1, 2) if network == "rings" else (1,)
    chosen = ArCnnSettings(
        network=network, context=context, dilations=dilations, bottleneck_channels=12, hidden_channels=32,
        epochs=20, batch_maps=4, learning_rate=3e-3,
    )  # fmt: skip
    scorer = ArCnnScorer(chosen).fit(list(maps.split(8)), validation=[make_smooth(6, (10, 10), 12, seed=3)])
    history = scorer.state().history
    assert history["train_loss"][-1] < 0.6 * history["train_loss"][0]
    assert history["validation_loss"][-1] < 0.6  # 1 is what predicting the mean costs


@pytest.mark.parametrize("normalise_positions", [False, True])
def test_the_epoch_that_predicts_held_out_scans_best_is_kept(normalise_positions):
    """Two maps of noise are learnt by heart, which makes the prediction of others worse."""
    noise = torch.randn(8, 6, 6, 6, generator=torch.Generator().manual_seed(0))
    train, held_out = noise[:2], noise[2:]
    chosen = replace(
        SMALL,
        hidden_channels=48,
        epochs=60,
        patience=4,
        learning_rate=1e-2,
        normalise_positions=normalise_positions,
    )
    scorer = ArCnnScorer(chosen).fit([train], validation=[held_out[:4], held_out[4:]])
    state = scorer.state()
    losses = state.history["validation_loss"]
    best = state.settings["best_epoch"]
    assert best == int(np.argmin(losses)) + 1
    assert len(losses) == state.settings["epochs_done"] == best + chosen.patience < chosen.epochs
    assert float(scorer.prediction_errors(held_out).mean()) == pytest.approx(min(losses), rel=1e-5)
    assert losses[-1] > 1.01 * min(losses)
    if normalise_positions:
        torch.testing.assert_close(scorer.score(train).mean(0), torch.ones(6, 6), rtol=1e-3, atol=0)


def test_without_held_out_scans_the_last_epoch_is_kept(make_smooth):
    state = ArCnnScorer(replace(SMALL, epochs=3, patience=1)).fit([make_smooth(4, (6, 6), 6, seed=1)]).state()
    assert state.settings["best_epoch"] == state.settings["epochs_done"] == 3


def losses_with(make_smooth, **changes):
    chosen = replace(SMALL, hidden_channels=32, epochs=15, batch_maps=4, learning_rate=3e-3, **changes)
    return ArCnnScorer(chosen).fit([make_smooth(16, (10, 10), 8, seed=2)]).state().history["train_loss"]


def test_noise_is_on_what_is_looked_at_not_on_what_is_predicted(make_smooth):
    """Noise that drowns the neighbours leaves the mean as the best guess, at a loss of 1."""
    assert losses_with(make_smooth, noise_probability=0.0)[-1] < 0.7
    assert losses_with(make_smooth, noise_probability=1.0, noise_scale=1e3)[-1] > 0.9


def test_the_learning_rate_rises_to_its_peak_and_falls_to_nothing(make_smooth, monkeypatch):
    """In a warm-up, and then as a half wave of a cosine over all epochs."""
    rates = []
    monkeypatch.setattr(ar_cnn_training.AdamW, "step", lambda _, rate: rates.append(rate))
    chosen = replace(SMALL, epochs=10, batch_maps=1, learning_rate=1e-3, warmup_fraction=0.2)
    ArCnnScorer(chosen).fit([make_smooth(10, (3, 3), 4, seed=2)])
    shares = np.array(rates) / 1e-3
    assert len(shares) == 100
    assert shares[0] == pytest.approx(0.02) and shares[10] == pytest.approx(0.5) and shares[20] == 1
    assert (np.diff(shares[1:21]) > 0).all() and (np.diff(shares[20:]) < 0).all()
    assert shares[60] == pytest.approx(0.5)
    np.testing.assert_allclose(shares[21:100] + shares[99:20:-1], 1, atol=1e-9)


def test_gradients_are_clipped(make_smooth):
    """AdamW's steps do not depend on the size of a gradient, down to its ε."""
    losses = losses_with(make_smooth, noise_probability=0.0, clip_norm=1e-13)
    assert losses[-1] == pytest.approx(losses[0], rel=0.05)


def test_a_gpu_is_not_waited_for_by_a_group_of_maps_nor_by_noise(make_smooth):
    maps = make_smooth(8, (6, 6), 10, seed=3)
    training = Training(replace(SMALL, noise_probability=0.5), take_census([maps], True), torch.device("cpu"))

    def noisy(batches):
        groups = groups_of_maps(batches, 3, torch.Generator().manual_seed(0))
        generator = torch.Generator().manual_seed(1)
        return [training._with_noise(group.permute(0, 3, 1, 2), generator) for group in groups]

    expected = noisy([maps[:5], maps[5:]])
    with pretended_gpu() as waits:
        there = [part.to("cuda") for part in (maps[:5], maps[5:])]
        waits.clear()
        got = noisy(there)
        assert not waits
        torch.testing.assert_close([own.cpu() for own in got], expected)


def test_noise_has_the_size_of_each_channel_of_its_map(make_smooth):
    factors = 10 ** torch.linspace(-2, 2, 8)
    maps = (make_smooth(400, (10, 10), 8, seed=3) * factors).permute(0, 3, 1, 2)
    maps[0] = 1.0
    chosen = replace(SMALL, noise_probability=0.3, noise_scale=0.5)
    training = Training(chosen, Census(400, (10, 10), torch.zeros(8), torch.ones(8)), torch.device("cpu"))
    noise = training._with_noise(maps, torch.Generator().manual_seed(0)) - maps
    has_noise = noise.abs().amax((1, 2, 3)) > 0
    assert float(has_noise.float().mean()) == pytest.approx(0.3, abs=0.08)
    assert float(noise[0].abs().max()) == 0, "a constant map has no spread"
    share = noise[has_noise].std((2, 3)) / maps[has_noise].std((2, 3))
    torch.testing.assert_close(share.mean(0), torch.full((8,), 0.5), rtol=0.05, atol=0)


def test_a_step_in_chunks_is_that_of_the_whole_batch(make_smooth, monkeypatch):
    maps = make_smooth(7, (6, 6), 6, seed=4)
    chosen = replace(SMALL, epochs=2, batch_maps=5)
    whole = ArCnnScorer(chosen).fit([maps])
    one_by_one = partial(in_chunks, budget=1)
    monkeypatch.setattr(ar_cnn_training, "in_chunks", one_by_one)
    chunked = ArCnnScorer(chosen).fit([maps])
    for name, tensor in whole.state().tensors.items():
        torch.testing.assert_close(chunked.state().tensors[name], tensor, rtol=1e-3, atol=1e-5)
    assert chunked.state().history["train_loss"] == pytest.approx(
        whole.state().history["train_loss"], rel=1e-5
    )


@pytest.mark.parametrize(
    ("network", "context", "dilations"),
    [("rings", "two-sided", (1, 2, 4)), ("rings", "causal", (1, 2, 4)), ("paper", "causal", (1,))],
)
def test_a_planted_patch_swap_stands_out(network, context, dilations, make_smooth):
    """Two patches of a held-out map exchanged score higher than 99 % of untouched patches of held-out maps."""
    train, held_out = make_smooth(60, (12, 12), 12, seed=4), make_smooth(20, (12, 12), 12, seed=5)
    chosen = ArCnnSettings(
        network=network,
        context=context,
        dilations=dilations,
        bottleneck_channels=12,
        hidden_channels=48,
        epochs=30,
        batch_maps=6,
        learning_rate=3e-3,
    )
    scorer = ArCnnScorer(chosen).fit(list(train.split(10)))
    untouched = scorer.score(held_out)
    limit = float(untouched.quantile(0.99))
    generator = np.random.default_rng(0)
    higher = []
    for index in range(len(held_out)):
        patches = held_out[index].reshape(144, 12)
        inner = [i for i in range(144) if 2 <= i // 12 < 10 and 2 <= i % 12 < 10]
        a = generator.choice(inner)
        # An exchange that changes something: with the least alike inner patch.
        b = inner[int((patches[inner] - patches[a]).square().sum(1).argmax())]
        swapped = patches.clone()
        swapped[[a, b]] = patches[[b, a]]
        scores = scorer.score(swapped.reshape(1, 12, 12, 12)).flatten()
        higher += [float(scores[a]) > limit, float(scores[b]) > limit]
    assert np.mean(higher) >= 0.99


def test_standardised_scores_ignore_the_scale_of_channels(make_smooth):
    maps = make_smooth(10, (6, 6), 8, seed=6)
    factors = 10 ** torch.linspace(-1, 1, 8)
    chosen = replace(SMALL, epochs=3, batch_maps=5)
    plain = ArCnnScorer(chosen).fit([maps])
    scaled = ArCnnScorer(chosen).fit([maps * factors + 3])
    torch.testing.assert_close(plain.score(maps), scaled.score(maps * factors + 3), rtol=0.02, atol=1e-3)


def test_normalised_positions_have_a_mean_of_one_on_normal_maps(make_smooth):
    maps = make_smooth(30, (6, 7), 8, seed=7)
    scorer = ArCnnScorer(replace(SMALL, epochs=5, batch_maps=5, normalise_positions=True)).fit([maps])
    torch.testing.assert_close(scorer.score(maps).mean(0), torch.ones(6, 7), rtol=1e-4, atol=1e-4)
    assert scorer.score(make_smooth(1, (9, 5), 8, seed=8)).shape == (1, 9, 5)


def test_a_place_that_hardly_changes_in_normal_maps_does_not_make_what_is_there_the_most_unusual(
    make_smooth, monkeypatch
):
    """Its error is divided by a hundredth of the mean normal one at least."""
    maps = make_smooth(4, (2, 3), 8, seed=7)
    normal = torch.tensor([[1e-9, 1.0, 1.0], [0.0, 2.0, 2.0]], dtype=torch.float64)
    monkeypatch.setattr(ar_cnn_training, "mean_errors", lambda *_: (normal, 4))
    scorers = [
        ArCnnScorer(replace(SMALL, epochs=1, normalise_positions=n)).fit([maps]) for n in (True, False)
    ]
    divided, plain = (scorer.score(maps) for scorer in scorers)
    torch.testing.assert_close(plain / divided, normal.float().clamp_min(0.01).expand(4, 2, 3))


def test_census_is_that_of_all_maps_and_spares_constant_channels(make_smooth):
    maps = make_smooth(9, (4, 4), 6, seed=9)
    maps[..., 2] = 5.0
    census = take_census([maps[:2].half().float(), maps[2:]], standardise=True)
    every = torch.cat([maps[:2].half().float(), maps[2:]]).double().reshape(-1, 6)
    torch.testing.assert_close(census.mean, every.mean(0).float(), rtol=1e-6, atol=1e-6)
    assert census.n_maps == 9
    assert census.grid == (4, 4)
    varying = [0, 1, 3, 4, 5]
    torch.testing.assert_close(
        census.scale[varying], every.std(0, correction=0).float()[varying], rtol=1e-5, atol=0
    )
    assert float(census.scale[2]) == pytest.approx(1e-3 * float(census.scale.max()))


def test_maps_are_regrouped_without_loss():
    maps = torch.arange(23.0)[:, None, None, None].expand(-1, 2, 2, 1).contiguous()
    batches = [maps[:1], maps[1:9], maps[9:11], maps[11:]]
    groups = list(groups_of_maps(batches, 4, torch.Generator().manual_seed(0)))
    assert [len(group) for group in groups] == [4, 4, 4, 4, 4, 3]
    seen = torch.cat(groups)[:, 0, 0, 0]
    assert sorted(seen.tolist()) == list(range(23))
    assert seen.tolist() != list(range(23))
    again = torch.cat(list(groups_of_maps(batches, 4, torch.Generator().manual_seed(1))))
    assert again[:, 0, 0, 0].tolist() != seen.tolist()


def test_slices_of_a_scan_that_come_together_are_not_trained_on_together():
    maps = torch.arange(96.0)[:, None, None, None]
    group, *_ = groups_of_maps([maps[:32], maps[32:64], maps[64:]], 96, torch.Generator().manual_seed(0))
    steps = group.flatten().diff()
    assert int((steps == 1).sum()) < 10
    groups = list(groups_of_maps([maps], 8, torch.Generator().manual_seed(0)))
    assert all(float(own.max() - own.min()) > 16 for own in groups)


def test_grids_that_differ_are_refused(make_smooth):
    maps = [make_smooth(2, (4, 4), 6, seed=1), make_smooth(2, (5, 4), 6, seed=1)]
    with pytest.raises(ScorerError, match="one patch grid"):
        ArCnnScorer(SMALL).fit(maps)


def test_divergence_is_told(make_smooth):
    maps = [make_smooth(4, (4, 4), 6, seed=1) * 1e25]
    with pytest.raises(ScorerError, match="finite training loss"):
        ArCnnScorer(replace(SMALL, standardise=False, epochs=2)).fit(maps)


def test_settings_are_checked():
    for wrong in (
        {"dilations": ()},
        {"dilations": (0,)},
        {"network": "paper", "dilations": (1, 2)},
        {"learning_rate": 0.0},
        {"context": "sideways"},
        {"noise_scale": -1.0},
    ):
        with pytest.raises(SettingError):
            ArCnnSettings(**wrong)
