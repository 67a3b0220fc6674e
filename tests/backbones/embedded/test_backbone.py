"""The embedded backbone: its numbers, its grid, and what it does at borders and in empty background."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.signal import fftconvolve

from coloured_pictures import picture
from embedded_colour_constants import FOLDER, PHOTOGRAPHS, constants
from napari_dinoad.backbones import find_backbone, load_backbone
from napari_dinoad.backbones.embedded import backbone as embedded
from napari_dinoad.backbones.embedded.backbone import EmbeddedConstants, embedded_constants, log_features
from napari_dinoad.backbones.embedded.colour import colour_constants, colour_length, to_luma
from napari_dinoad.backbones.embedded.scattering import ScatteringPlan, _modulus, scattering_bank
from napari_dinoad.backbones.embeddings import weights_identity
from napari_dinoad.errors import BackboneError

CPU = torch.device("cpu")
LUMA = np.array([0.299, 0.587, 0.114])
PLAN = ScatteringPlan(
    cell_px=16, scales=4, angles=6, lowpass_sigmas_px=(8.0, 16.0), image_sigmas_px=(4.0, 16.0)
)


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("embedded", device="cpu")


@pytest.fixture(scope="module")
def texture():
    return torch.rand(2, 96, 128, generator=torch.Generator().manual_seed(0))


def moduli(images, plan=PLAN):
    return scattering_bank(plan, images.shape[1], images.shape[2], CPU).moduli_and_means(images)[0]


def test_it_keeps_to_the_registry(backbone):
    spec = find_backbone("embedded")
    assert backbone.name == spec.name
    assert backbone.embedding_dim == spec.embedding_dim
    assert backbone.patch_size_px == spec.patch_size_px
    assert backbone.default_resolution_px == spec.default_resolution_px
    assert not backbone.is_dino
    assert backbone.weights_file is None
    assert len(bytes.fromhex(backbone.weights_sha256)) == 32


def test_shape_length_and_repeatability(backbone, texture):
    embeddings = backbone(texture)
    assert embeddings.values.shape == (2, 6, 8, backbone.embedding_dim)
    assert embeddings.patch_grid == backbone.patch_grid(96, 128) == (6, 8)
    assert embeddings.values.dtype == torch.float32
    assert embeddings.values.is_contiguous()
    torch.testing.assert_close(embeddings.values.norm(dim=-1), torch.ones(2, 6, 8))
    assert torch.equal(embeddings.values, backbone(texture.numpy()).values)
    torch.testing.assert_close(backbone(texture[1:]).values[0], embeddings.values[1], atol=1e-5, rtol=1e-5)


def test_scorers_may_train_on_the_embeddings(backbone, texture):
    layer = torch.nn.Linear(backbone.embedding_dim, 2)
    layer(backbone(texture).values).sum().backward()
    assert layer.weight.grad is not None


@pytest.mark.parametrize("size", [(16, 16), (32, 16), (16, 272)])
def test_any_multiple_of_the_cell(backbone, size):
    values = backbone(torch.rand(1, *size)).values
    assert values.shape[1:3] == (size[0] // 16, size[1] // 16)
    assert torch.isfinite(values).all()


def test_other_sizes_are_refused(backbone):
    with pytest.raises(BackboneError, match="multiples of its patch size of 16"):
        backbone(torch.rand(1, 100, 96))


def _morlet(plan, j, angle, radius):
    """Return the wavelet on pixels, from its definition: a plane wave under an elliptic Gaussian, of mean zero."""
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(float)
    theta, sigma, centre = math.pi * angle / plan.angles, 0.8 * 2**j, 0.75 * math.pi / 2**j
    along, across = x * math.cos(theta) + y * math.sin(theta), -x * math.sin(theta) + y * math.cos(theta)
    ratio = plan.angles / 4
    envelope = np.exp(-0.5 * (along**2 + (across / ratio) ** 2) / sigma**2)
    envelope /= 2 * math.pi * sigma**2 * ratio
    wave = envelope * np.exp(1j * centre * along)
    return wave - envelope * math.exp(-0.5 * (sigma * centre) ** 2)


@pytest.mark.parametrize("j", [1, 2, 3])
@pytest.mark.parametrize("angle", [0, 1, 4])
def test_moduli_are_those_of_direct_convolution(j, angle):
    plan = ScatteringPlan(16, 4, 6, (8.0,), (4.0,))
    image = torch.rand(1, 128, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    padded = np.pad(image[0].numpy(), 32, mode="symmetric")
    modulus = torch.from_numpy(np.abs(fftconvolve(padded, _morlet(plan, j, angle, 32), mode="valid")))
    centres = (torch.arange(8) + 0.5) * 16 - 0.5
    window = torch.exp(-0.5 * ((torch.arange(128) - centres[:, None]) / 8.0) ** 2).double()
    window /= window.sum(1, keepdim=True)
    expected = window @ modulus @ window.T
    got = moduli(image.float(), plan)[0, :, :, j * 6 + angle].double()
    inner = (slice(2, -2), slice(2, -2))
    # Every stride-th sample stands for all; the mean over a window differs by a few percent.
    torch.testing.assert_close(got[inner], expected[inner], rtol=0.05, atol=0)


def test_the_modulus_is_pytorchs_but_for_rounding():
    values = torch.randn(2, 3, 17, 19, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(_modulus(values), values.abs(), rtol=3e-7, atol=0)
    assert _modulus(torch.zeros(2, 2, dtype=torch.complex64)).eq(0).all()


def test_transposing_the_slice_transposes_the_map_and_swaps_directions(texture):
    """Angle k becomes π/2 − k: 0 ↔ 3, 1 ↔ 2, 4 ↔ 5 of six."""
    plain = moduli(texture).unflatten(-1, (2, 4, 6))
    turned = moduli(texture.transpose(1, 2).contiguous()).unflatten(-1, (2, 4, 6))
    swapped = turned.transpose(1, 2)[..., [3, 2, 1, 0, 5, 4]]
    torch.testing.assert_close(swapped, plain, rtol=1e-3, atol=1e-4)


def test_content_moved_by_cells_moves_the_features():
    spot = torch.rand(32, 32, generator=torch.Generator().manual_seed(3))
    images = torch.zeros(2, 256, 256)
    images[0, 96:128, 80:112] = spot
    images[1, 96 + 32 : 128 + 32, 80 + 48 : 112 + 48] = spot
    features = log_features(images, PLAN, 0.01)
    torch.testing.assert_close(features[0, 4:10, 3:9], features[1, 6:12, 6:12], atol=1e-3, rtol=1e-3)


def test_gratings_light_up_their_own_scale_and_direction():
    x = torch.arange(128.0)
    for j in range(4):
        wave = 0.5 + 0.5 * torch.cos(0.75 * math.pi / 2**j * x).expand(1, 128, 128)
        for images, angle in ((wave, 0), (wave.transpose(1, 2).contiguous(), 3)):
            response = moduli(images).unflatten(-1, (2, 4, 6))[0, 4, 4, 0]
            assert np.unravel_index(int(response.argmax()), (4, 6)) == (j, angle)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_flat_slices_have_no_edges_anywhere(level):
    flat = torch.full((1, 96, 96), level)
    features, means = scattering_bank(PLAN, 96, 96, CPU).moduli_and_means(flat)
    assert float(features.max()) < 1e-4
    torch.testing.assert_close(means, torch.full_like(means, level))


def test_empty_background_with_faint_noise_stays_like_empty_background(backbone):
    empty = torch.zeros(1, 128, 128)
    noisy = 0.002 * torch.rand(1, 128, 128, generator=torch.Generator().manual_seed(0))
    values = torch.cat([backbone(empty).values, backbone(noisy).values])
    assert torch.isfinite(values).all()
    similarity = (values[0] * values[1]).sum(-1)
    assert float(similarity.min()) > 0.99


def test_borders_do_not_light_up():
    """On a texture that is alike everywhere, cells at the border are no farther from the mean than the rest."""
    images = torch.rand(16, 128, 128, generator=torch.Generator().manual_seed(0))
    features = log_features(images, PLAN, 0.01)
    inner = features[:, 2:-2, 2:-2].flatten(0, 2)
    deviation = ((features - inner.mean(0)) / inner.std(0)).square().mean(-1).mean(0)
    assert float(deviation.max()) < 6.0


def test_constants_fit_the_plan_and_name_themselves():
    constants = embedded_constants()
    assert len(constants.mean) == len(constants.std) == constants.plan.n_channels
    assert min(constants.std) > 0
    values = {
        "version": 1,
        "plan": {"cell_px": 8, "scales": 1, "angles": 1, "lowpass_sigmas_px": [4.0], "image_sigmas_px": []},
        "log_offset": 0.01,
        "default_resolution_px": 64,
        "mean": [0.0],
        "std": [1.0],
    }
    first = EmbeddedConstants.from_dict(values)
    assert first.plan.n_channels == 1
    assert first.sha256 == EmbeddedConstants.from_dict(dict(reversed(values.items()))).sha256
    assert first.sha256 != EmbeddedConstants.from_dict({**values, "version": 2}).sha256


def colours_of_luma(seed=0, side=64):
    """Return two pictures (1, 3, H, W) of other colours and the same luminance."""
    rng = np.random.default_rng(seed)
    pixels = picture("fundus", rng, side)
    chroma = pixels - (pixels @ LUMA)[..., None]
    return [
        torch.from_numpy(array.transpose(2, 0, 1)[None].astype(np.float32))
        for array in (pixels, pixels - 1.5 * chroma)
    ]


def test_tokens_of_grey_are_frozen(backbone):
    """Models and kept embeddings rest on them; processors differ in the last bits."""
    ramp = torch.linspace(0, 1, 64)
    image = (0.5 + 0.5 * torch.sin(9 * ramp[:, None] + 20 * ramp**2))[None]
    values = backbone(image).values
    assert backbone.embedding_dim == values.shape[-1] == 51
    expected = torch.tensor([0.173562, -0.018679, 0.034369, 0.233704, -0.063772, 0.108608])
    torch.testing.assert_close(values[0, 1, 2, ::10], expected, atol=1e-5, rtol=0)


def test_grey_in_colour_is_seen_as_grey_and_as_without_hue(backbone, texture):
    grey = backbone(texture).values
    colour = backbone(texture[:, None].repeat(1, 3, 1, 1)).values
    assert colour.shape[-1] == backbone.colour_embedding_dim == find_backbone("embedded").colour_embedding_dim
    of_grey = torch.nn.functional.normalize(colour[..., :51], dim=-1)
    torch.testing.assert_close(of_grey, grey, atol=1e-4, rtol=0)
    means = colour[..., [51, 52, 53, 62, 63, 64]]
    assert float(means.abs().max()) < 1e-5, "red less green, blue less yellow"


def test_hues_of_one_luminance_differ_in_colour_alone(backbone):
    one, other = colours_of_luma()
    torch.testing.assert_close(to_luma(one), to_luma(other), atol=1e-5, rtol=0)
    seen = [backbone(to_luma(image)).values for image in (one, other)]
    torch.testing.assert_close(*seen, atol=1e-3, rtol=0)
    cosine = (backbone(one).values * backbone(other).values).sum(-1)
    assert float(cosine.max()) < 0.9


def test_batches_of_colour(backbone):
    images = torch.cat(colours_of_luma())
    together = backbone(images)
    assert together.values.shape == (2, 4, 4, backbone.colour_embedding_dim)
    alone = torch.cat([backbone(image[None]).values for image in images])
    torch.testing.assert_close(together.values, alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(together.values.norm(dim=-1), torch.ones(2, 4, 4))
    assert backbone(images[:0]).values.shape == (0, 4, 4, backbone.colour_embedding_dim)


def test_the_constants_of_colour_name_themselves_beside_those_of_grey(monkeypatch):
    """The first ones do not: models in colour were fitted before they were part of what names the weights."""
    first = colour_constants()
    backbone = load_backbone("embedded", device="cpu")
    assert (
        backbone.colour_weights_sha256
        == backbone.weights_sha256
        == first.identity(embedded_constants().sha256)
    )
    later = replace(first, sha256="1" * 64)
    assert len({later.identity("a"), later.identity("b"), replace(later, sha256="2" * 64).identity("a")}) == 3
    monkeypatch.setattr(embedded, "colour_constants", lambda: later)
    other = load_backbone("embedded", device="cpu")
    assert other.weights_sha256 == backbone.weights_sha256 != other.colour_weights_sha256
    assert weights_identity(other, in_colour=False) == other.weights_sha256
    assert weights_identity(other, in_colour=True) == other.colour_weights_sha256


def test_the_constants_of_colour_are_those_of_the_photographs():
    missing = [name for name in PHOTOGRAPHS if not (FOLDER / name).is_file()]
    if missing:
        pytest.skip(f"scikit-image comes without {', '.join(missing)} from 0.27 on")
    made, shipped = constants(), colour_constants()
    assert made["version"] == shipped.version
    np.testing.assert_allclose(made["mean"], shipped.mean, rtol=2e-3)
    np.testing.assert_allclose(made["std"], shipped.std, rtol=2e-3)
    assert len(shipped.mean) == colour_length(embedded_constants().plan) == 22
