"""The six variants: legible text, twins that differ in their text only, reproducible draws."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from raising import raises

from calib.config.choices import PERTURBATIONS
from calib.data.dualbench.rendering import (
    DRAWN_SCENE,
    LEAST_NOISE,
    VARIANTS,
    Rendering,
    find_photographs,
)
from calib.data.dualbench.templates import template_twins
from calib.data.dualbench.typesetting import draw_coverage
from calib.data.text_image import MAX_ROTATION, MIN_ROTATION, NOISE

TWINS = sorted(template_twins(), key=lambda twin: len(twin.harmful))
SHORTEST, LONGEST = TWINS[0], TWINS[-1]
CONTRAST = 4.5  # WCAG AA


def renderings(twin=LONGEST, variant="original", **changes) -> list[Rendering]:
    """The renderings of the benign and the harmful text."""
    texts = (twin.benign, twin.harmful)
    if variant == "translation":
        texts = (twin.benign_translation, twin.harmful_translation)
    return [replace(Rendering(t, texts, twin.pair, variant, 448), **changes) for t in texts]


def coverage(rendering: Rendering) -> np.ndarray:
    style = rendering.style()
    font = rendering.typeface.at(style.font_px)
    return np.asarray(draw_coverage(rendering.text, rendering.side, font, style.angle))


def luminance(image: Image.Image) -> np.ndarray:
    """Relative luminance of every pixel, as WCAG defines it."""
    share = np.asarray(image, dtype=float) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return linear @ (0.2126, 0.7152, 0.0722)


def dilate(mask: np.ndarray, reach: int) -> np.ndarray:
    dilated = mask.copy()
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            dilated |= np.roll(mask, (dy, dx), (0, 1))
    return dilated


@pytest.fixture
def photographs(tmp_path: Path) -> tuple[Path, ...]:
    """A black and a striped photograph, neither of them square."""
    Image.new("RGB", (90, 60)).save(tmp_path / "a_night.png")
    stripes = np.zeros((50, 120, 3), dtype=np.uint8)
    stripes[:, ::2] = (255, 40, 0)
    Image.fromarray(stripes).save(tmp_path / "b_stripes.jpg")
    return find_photographs(tmp_path)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("twin", [SHORTEST, LONGEST], ids=["shortest", "longest"])
def test_text_is_inside_the_margins_large_and_high_in_contrast(variant: str, twin) -> None:
    for rendering in renderings(twin, variant):
        image, covered = rendering(), coverage(rendering)
        assert (image.mode, image.size) == ("RGB", (448, 448))
        # The margin is 25 of 448 pixels (6 %, less the smoothing).
        ys, xs = np.nonzero(covered)
        assert min(ys.min(), xs.min()) >= 25 and max(ys.max(), xs.max()) < 448 - 25
        if variant != "rotation":
            bands = np.flatnonzero(np.diff((covered > 128).any(axis=1).astype(int)))
            # The first line has a capital, whose height is 20 px at 28 px and 14 px at 20 px.
            assert bands[1] - bands[0] >= (14 if variant == "small_font" else 20)
        solid, around = covered > 250, dilate(covered > 0, 4) & (covered == 0)
        bright, dark = luminance(image)[around].mean(), luminance(image)[solid].mean()
        assert (bright + 0.05) / (dark + 0.05) >= CONTRAST
        assert solid.sum() > 100


@pytest.mark.parametrize("number", [0, 1])
def test_every_pixel_of_a_photograph_has_sufficient_contrast(
    photographs: tuple[Path, ...], number: int
) -> None:
    (rendering, _) = renderings(variant="real_background", photographs=photographs[number:][:1])
    background = luminance(rendering())[coverage(rendering) == 0]
    assert (background.min() + 0.05) / 0.05 >= CONTRAST
    assert rendering.style().background == photographs[number].name


def test_minimum_font_sizes() -> None:
    by_variant = {v: renderings(variant=v)[0].smallest for v in VARIANTS}
    assert by_variant == {v: 20 if v == "small_font" else 28 for v in VARIANTS}
    # The minimum is 12 pixels, also in smaller pictures.
    assert renderings(variant="small_font", side=224)[0].style().font_px == 12
    assert renderings(variant="small_font")[0].style().font_px == 20


@pytest.mark.parametrize("variant", VARIANTS)
def test_twins_have_the_same_style(variant: str, photographs: tuple[Path, ...]) -> None:
    for twin in (SHORTEST, LONGEST):
        benign, harmful = renderings(twin, variant, photographs=photographs)
        assert benign.style() == harmful.style()
        first, second = (np.asarray(r(), dtype=int) for r in (benign, harmful))
        assert not np.array_equal(first, second)
        # Outside of both texts the pictures are the same.
        plain = (coverage(benign) == 0) & (coverage(harmful) == 0)
        assert np.array_equal(first[plain], second[plain])


@pytest.mark.parametrize("variant", PERTURBATIONS)
def test_a_perturbation_differs_from_the_original(variant: str) -> None:
    (original, _), (other, _) = renderings(), renderings(variant=variant)
    assert original().tobytes() != other().tobytes()
    # It is reproducible, and random perturbations depend on seed and pair.
    assert other().tobytes() == renderings(variant=variant)[0]().tobytes()
    is_random = variant in ("real_background", "noise", "rotation")
    for changes in ({"seed": 1}, {"pair": "dualbench/S1/other"}):
        changed = renderings(variant=variant, **changes)[0]()
        assert (changed.tobytes() != other().tobytes()) == is_random


def test_random_parameters_are_within_their_bounds() -> None:
    styles = [r.style() for s in range(40) for r in renderings(variant="rotation", seed=s)[:1]]
    angles = [style.angle for style in styles]
    assert {angle > 0 for angle in angles} == {True, False}
    assert all(MIN_ROTATION <= abs(angle) <= MAX_ROTATION for angle in angles)
    noises = [renderings(variant="noise", seed=s)[0].style().noise for s in range(40)]
    assert LEAST_NOISE <= min(noises) < 0.23 < 0.3 < max(noises) <= NOISE
    plain = renderings()[0].style()
    assert (plain.angle, plain.noise, plain.background) == (0.0, 0.0, "")


def test_noise_has_the_stated_level() -> None:
    (rendering, _) = renderings(variant="noise")
    paper = np.asarray(rendering(), dtype=float)[:20]
    assert 255 - paper.min() == pytest.approx(rendering.style().noise * 255, abs=2)


def test_the_text_is_rotated_by_the_stated_angle() -> None:
    twin = replace(LONGEST, harmful="nnnnnnnnnn", benign="nnnnnnnnnn")
    (rendering, _) = renderings(twin, "rotation")
    ys, xs = np.nonzero(np.asarray(rendering().convert("L")) < 100)
    slope = np.degrees(np.arctan(np.polyfit(xs, ys, 1)[0]))
    assert slope == pytest.approx(-rendering.style().angle, abs=1)


def test_photographs_are_drawn_by_seed_and_cropped_to_squares(
    photographs: tuple[Path, ...],
) -> None:
    names = {
        renderings(variant="real_background", photographs=photographs, seed=s)[0].style().background
        for s in range(20)
    }
    assert names == {"a_night.png", "b_stripes.jpg"}
    assert renderings(variant="real_background")[0].style().background == DRAWN_SCENE
    night = renderings(variant="real_background", photographs=photographs[:1])[0]
    assert night().getpixel((0, 0)) == (128, 128, 128)
    wide = Path(photographs[0]).with_name("c_wide.png")
    Image.fromarray(np.tile(np.arange(0, 200, dtype=np.uint8), (20, 1))).save(wide)
    corners = {
        renderings(variant="real_background", photographs=(wide,), seed=s)[0]().getpixel((0, 0))
        for s in range(6)
    }
    assert len(corners) > 1


def test_a_folder_without_photographs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x", encoding="utf-8")
    with raises("too-few", "data.backgrounds", tmp_path):
        find_photographs(tmp_path)
    with raises("not-found", "data.backgrounds", tmp_path / "none"):
        find_photographs(tmp_path / "none")


def test_a_text_that_is_too_long_does_not_fit() -> None:
    twin = replace(LONGEST, benign="Buy a fig. " * 60)
    for variant in ("original", "small_font", "rotation"):
        benign, harmful = renderings(twin, variant)
        assert not benign.fits() and not harmful.fits()  # twins share the font size
    with raises("too-large", LONGEST.pair, "original", "28 pixels"):
        renderings(twin)[1]()
    assert all(r.fits() for v in VARIANTS for r in renderings(LONGEST, v))
