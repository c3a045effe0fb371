"""Noise is Perlin's for any size; synthetic defects change their mask's pixels and nothing else."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from roinspect.nn.forms import NoiseSource
from roinspect.nn.perlin import Blobs, perlin_noise, perturb

SOURCES: tuple[NoiseSource, ...] = get_args(NoiseSource)
sizes = st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photos(count: int = 4, height: int = 32, width: int = 40, seed: int = 9) -> Tensor:
    return torch.rand(count, 3, height, width, generator=seeded(seed))


# --- noise ------------------------------------------------------------------------------------------------


def perlin_by_definition(
    angle: Tensor, cells_yx: tuple[int, int], height: int, width: int
) -> list[list[float]]:
    """One field, pixel by pixel: dot products with the four corners' gradients, blended by the fade."""

    def fade(t: float) -> float:
        return 6 * t**5 - 15 * t**4 + 10 * t**3

    def value(row: int, column: int) -> float:
        y, x = (row + 0.5) / height * cells_yx[0], (column + 0.5) / width * cells_yx[1]
        top, left = math.floor(y), math.floor(x)
        total = 0.0
        for corner_y in (top, top + 1):
            for corner_x in (left, left + 1):
                turn = float(angle[corner_y, corner_x])
                dot = math.sin(turn) * (y - corner_y) + math.cos(turn) * (x - corner_x)
                total += fade(1 - abs(y - corner_y)) * fade(1 - abs(x - corner_x)) * dot
        return total * math.sqrt(2)

    return [[value(row, column) for column in range(width)] for row in range(height)]


@pytest.mark.parametrize(("height", "width"), [(12, 12), (13, 7), (1, 9), (5, 1)])
def test_the_batch_equals_the_definition_pixel_by_pixel(height: int, width: int) -> None:
    noise = perlin_noise(3, height, width, generator=seeded(), max_scale=3)
    draws = seeded()
    scale = torch.randint(0, 4, (3, 2), generator=draws)
    angle = torch.rand(3, 9, 9, generator=draws) * (2 * math.pi)
    for index in range(3):
        cells_yx = (min(2 ** int(scale[index, 0]), height), min(2 ** int(scale[index, 1]), width))
        expected = torch.tensor(perlin_by_definition(angle[index], cells_yx, height, width))
        torch.testing.assert_close(noise[index, 0], expected, rtol=1e-4, atol=1e-5)


@given(sizes, st.integers(0, 8), st.integers(0, 8), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_any_size_and_scale_gives_noise_in_range(
    size: tuple[int, int, int], first: int, second: int, seed: int
) -> None:
    low, high = sorted((first, second))
    noise = perlin_noise(*size, generator=seeded(seed), min_scale=low, max_scale=high)
    assert noise.shape == (size[0], 1, *size[1:]) and noise.dtype == torch.float32
    assert noise.isfinite().all() and noise.abs().max() <= 1
    assert (noise.abs().amax((1, 2, 3)) > 0).all(), "no field is flat zero, however fine its lattice"


def test_the_range_is_used_and_the_mean_is_zero() -> None:
    noise = perlin_noise(2000, 24, 24, generator=seeded(), max_scale=4)
    assert abs(noise.mean().item()) < 0.01
    # Pixel by pixel too: no place is favoured.
    assert noise.mean(0).abs().max() < 0.05
    assert noise.max() > 0.8 and noise.min() < -0.8


@pytest.mark.parametrize("scale", [0, 1, 2, 3])
def test_neighbours_differ_little_at_low_frequency(scale: int) -> None:
    height, width = 96, 128
    noise = perlin_noise(50, height, width, generator=seeded(), min_scale=scale, max_scale=scale)
    for axis, side in ((2, height), (3, width)):
        step = noise.diff(dim=axis).abs().max().item()
        assert step < 4 * 2**scale / side


def test_every_image_and_axis_has_a_frequency_of_its_own() -> None:
    noise = perlin_noise(64, 64, 64, generator=seeded())
    down, across = (noise.diff(dim=axis).abs().mean((1, 2, 3)) for axis in (2, 3))
    for roughness in (down, across, down / across):
        assert roughness.max() > 8 * roughness.min()


def test_the_generator_decides_everything() -> None:
    first, again, other = (perlin_noise(3, 20, 30, generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((0, 4, 4), {}),
        ((1, 0, 4), {}),
        ((1, 4, -1), {}),
        ((1, 4, 4), {"min_scale": 3, "max_scale": 2}),
        ((1, 4, 4), {"max_scale": 9}),
        ((1, 4, 4), {"min_scale": -1}),
    ],
)
def test_impossible_noise_is_refused(size: tuple[int, int, int], options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"at least 1|does not hold"):
        perlin_noise(*size, **options)


# --- defects ----------------------------------------------------------------------------------------------


def check_contract(images: Tensor, noisy: Tensor, mask: Tensor) -> None:
    count, _, height, width = images.shape
    assert noisy.shape == images.shape and mask.shape == (count, 1, height, width)
    assert noisy.dtype == mask.dtype == images.dtype
    assert ((mask == 0) | (mask == 1)).all()
    assert torch.equal(torch.where(mask == 0, noisy, 0), torch.where(mask == 0, images, 0))
    assert noisy.min() >= 0 and noisy.max() <= 1


@given(sizes, st.floats(0, 1), st.integers(0, 999), st.sets(st.sampled_from(SOURCES), min_size=1))
@settings(max_examples=80, deadline=None)
def test_nothing_changes_outside_the_mask(
    size: tuple[int, int, int], clean_share: float, seed: int, names: set[NoiseSource]
) -> None:
    images = photos(*size, seed=seed)
    noisy, mask = perturb(
        images,
        generator=seeded(seed),
        clean_share=clean_share,
        sources=dict.fromkeys(names, 1.0),
        textures=photos(2, *size[1:], seed=seed + 1),
    )
    check_contract(images, noisy, mask)


def test_the_images_given_are_left_alone() -> None:
    images = photos()
    before = images.clone()
    perturb(images, generator=seeded(), clean_share=0)
    assert torch.equal(images, before)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("local_share", [0.0, 1.0])
def test_the_clean_share_is_kept(share: float, local_share: float) -> None:
    images = photos(1000, 16, 20)
    noisy, mask = perturb(images, generator=seeded(), clean_share=share, blobs=Blobs(local_share=local_share))
    is_clean = mask.sum((1, 2, 3)) == 0
    if share in (0, 1):
        assert is_clean.float().mean().item() == share
    # Four standard deviations of a mean over 1000 images.
    assert abs(is_clean.float().mean().item() - share) <= 4 * math.sqrt(share * (1 - share) / 1000)
    assert torch.equal(noisy[is_clean], images[is_clean])


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("size", [(1, 31, 18), (5, 64, 47), (1, 1, 1)])
def test_each_kind_of_content_works_alone(source: NoiseSource, size: tuple[int, int, int]) -> None:
    images, textures = photos(*size), photos(3, *size[1:], seed=2)
    noisy, mask = perturb(images, generator=seeded(), sources={source: 1.0}, textures=textures, clean_share=0)
    check_contract(images, noisy, mask)
    assert (mask.sum((1, 2, 3)) > 0).all()
    if size[1] > 1:
        changed = ((noisy != images).any(1, keepdim=True) & (mask == 1)).sum()
        assert changed > 0.9 * mask.sum(), "the mask marks what was changed"


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_the_opacity_stays_within_beta(first: float, second: float, seed: int) -> None:
    low, high = sorted((first, second))
    black, white = torch.zeros(8, 3, 16, 16), torch.ones(1, 3, 16, 16)
    noisy, mask = perturb(
        black,
        generator=seeded(seed),
        sources={"texture": 1.0},
        textures=white,
        clean_share=0,
        beta=(low, high),
    )
    for image, blob in zip(noisy, mask, strict=True):
        opacity = image[:, blob[0] == 1]
        assert opacity.max() - opacity.min() < 1e-6, "one opacity per image"
        assert low - 1e-6 <= opacity.min() and opacity.max() <= high + 1e-6


def test_beta_spreads_over_its_range() -> None:
    options: dict[str, Any] = {"sources": {"texture": 1.0}, "textures": torch.ones(1, 3, 8, 8)}
    noisy, _ = perturb(torch.zeros(500, 3, 8, 8), generator=seeded(), clean_share=0, **options)
    opacity = noisy.amax((1, 2, 3))
    assert 0.5 <= opacity.min() < 0.52 and 0.98 < opacity.max() <= 1
    assert opacity.mean().item() == pytest.approx(0.75, abs=0.03)


def test_full_opacity_of_a_texture_shows_the_texture() -> None:
    textures = photos(2, 24, 24, seed=5)
    noisy, mask = perturb(
        photos(6, 24, 24),
        generator=seeded(),
        sources={"texture": 1.0},
        textures=textures,
        clean_share=0,
        beta=(1, 1),
    )
    for image, blob in zip(noisy, mask, strict=True):
        inside = (blob == 1).expand_as(image)
        assert any(torch.equal(image[inside], texture.flip(2)[inside]) for texture in textures)


def test_a_patch_is_never_the_image_itself() -> None:
    # Every image is one grey of its own, so that its own patch would change nothing.
    images = torch.linspace(0, 1, 7)[:, None, None, None].expand(7, 3, 12, 12)
    for seed in range(20):
        noisy, mask = perturb(images, generator=seeded(seed), sources={"patch": 1.0}, clean_share=0)
        assert torch.equal((noisy != images).any(1, keepdim=True), mask == 1)


def test_sources_are_mixed_by_weight() -> None:
    images, textures = torch.zeros(600, 3, 8, 8), torch.ones(1, 3, 8, 8)
    noisy, _ = perturb(
        images,
        generator=seeded(),
        sources={"texture": 3.0, "patch": 1.0, "pixel": 0.0},
        textures=textures,
        clean_share=0,
    )
    # Black patches on black images leave no trace.
    assert (noisy.amax((1, 2, 3)) > 0).float().mean().item() == pytest.approx(0.75, abs=0.07)


def test_local_blobs_are_few_and_small() -> None:
    images = photos(200, 64, 64)
    local, spread = (
        perturb(images, generator=seeded(), clean_share=0, blobs=Blobs(local_share=share))[1].mean((1, 2, 3))
        for share in (1.0, 0.0)
    )
    assert local.max() < 0.25 and local.mean() < 0.5 * spread.mean()
    larger = Blobs(local_share=1.0, local_radius=(0.2, 0.3))
    assert perturb(images, generator=seeded(), clean_share=0, blobs=larger)[1].mean() > 2 * local.mean()


def test_defects_fall_everywhere() -> None:
    _, mask = perturb(photos(3000, 12, 12), generator=seeded(), clean_share=0)
    often = mask.mean(0)[0]
    assert often.min() > 0.4 * often.max()


def test_the_state_of_the_generator_decides_everything() -> None:
    first, again, other = (perturb(photos(), generator=seeded(s), clean_share=0) for s in (3, 3, 4))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


def test_the_global_generator_serves_where_none_is_given() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first = perturb(photos())
        torch.manual_seed(1)
        again = perturb(photos())
    assert torch.equal(first[0], again[0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("source", SOURCES)
def test_other_precisions_stay_what_they_are(dtype: torch.dtype, source: NoiseSource) -> None:
    images = photos().to(dtype)
    noisy, mask = perturb(
        images, generator=seeded(), sources={source: 1.0}, textures=photos(2), clean_share=0
    )
    check_contract(images, noisy, mask)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("where", ["cpu", "cuda"])
def test_a_generator_on_either_device_serves_images_on_a_gpu(where: str) -> None:
    images = photos().cuda()
    generator = torch.Generator(where).manual_seed(0)
    options: dict[str, Any] = {"sources": dict.fromkeys(SOURCES, 1.0), "textures": photos(2)}
    noisy, mask = perturb(images, generator=generator, **options)
    assert noisy.device == mask.device == images.device
    check_contract(images, noisy, mask)


@pytest.mark.parametrize(
    "options",
    [
        {"clean_share": 1.1},
        {"clean_share": -0.1},
        {"beta": (0.8, 0.2)},
        {"beta": (0.5, 1.5)},
        {"sources": {}},
        {"sources": {"pixel": 0.0}},
        {"sources": {"pixel": 1.0, "blob": -1.0}},
        {"sources": {"paint": 1.0}},
        {"sources": {"texture": 1.0}},
        {"sources": {"texture": 1.0}, "textures": torch.zeros(2, 3, 8, 8)},
        {"sources": {"texture": 1.0}, "textures": torch.zeros(0, 3, 32, 40)},
    ],
)
def test_choices_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must lie|noise source|textures"):
        perturb(photos(), **options)


@pytest.mark.parametrize(
    "images", [torch.zeros(3, 8, 8), torch.zeros(2, 1, 8, 8), torch.zeros(2, 3, 8, 8).byte()]
)
def test_what_is_no_batch_of_colour_images_is_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match="images must be"):
        perturb(images)


@pytest.mark.parametrize(
    "options",
    [
        {"min_scale": 4, "max_scale": 3},
        {"max_scale": 9},
        {"threshold": (0.5, 1.2)},
        {"threshold": (0.6, 0.4)},
        {"local_share": 2.0},
        {"local_radius": (0.0, 0.1)},
        {"local_count": 0},
    ],
)
def test_shapes_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Blobs"):
        Blobs(**options)


def test_mixed_precision_changes_no_defect() -> None:
    images, blobs = photos(height=200, width=150), Blobs(local_share=1.0)
    exact = perturb(images, generator=seeded(), blobs=blobs, clean_share=0.0)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = perturb(images, generator=seeded(), blobs=blobs, clean_share=0.0)
    assert all(torch.equal(one, other) for one, other in zip(exact, mixed, strict=True))
