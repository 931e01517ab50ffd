"""Render an instruction as a picture, plain or with one of DUAL-Bench's five perturbations (§3.3).

The paper names the perturbations and states that twins share their random draws. The parameters are
ours; sizes are for the default picture of 448 pixels:

    original         black text on white, as large as fits inside margins of 6 % on every side, and
                     at least 28 px (SMALLEST times the small font)
    real_background  the same text on a photograph, or on a drawn scene if there are no photographs;
                     cropped to a random square and lightened so that its black becomes a middle
                     grey: the text keeps a contrast of at least 4.5 to 1 (WCAG AA)
    noise            uniform noise on every pixel and channel of the original; its level is drawn
                     between 20 and 33 % of the grey range in either direction
    rotation         the text rotated about the centre by 6 to 12 degrees in either direction, as
                     large as fits inside the margins after rotation
    small_font       text of 20 px (SMALL_SHARE of the side, at least SMALL_LEAST)
    translation      the translated text, rendered like the original

The font size is the largest that fits both twins. The random generator is seeded with a hash of
(seed, pair, variant), so that pictures are independent of each other.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from calib.config.choices import PERTURBATIONS
from calib.data.dualbench.typesetting import Typeface, draw_coverage, fits, fitting_size
from calib.data.images import read_image
from calib.data.text_image import NOISE, add_noise, random_angle, soft_scene
from calib.util.errors import CalibError

VARIANTS = ("original", *PERTURBATIONS)

SMALL_SHARE, SMALL_LEAST = 20 / 448, 12
"""Size of the small font: share of the picture's side, and its minimum in pixels."""
SMALLEST = 1.4
"""Minimum font size of the other variants, as a multiple of the small font."""
LEAST_NOISE = 0.2  # share of the grey range; NOISE is the maximum
LIGHTENED = 0.5
"""Factor on the distance between a background's colours and white."""
DRAWN_SCENE = "drawn scene"


@dataclass(frozen=True)
class RenderStyle:
    """The parameters a picture is drawn with; both twins have the same."""

    font_px: int
    angle: float = 0.0
    """Degrees, counter-clockwise."""
    noise: float = 0.0
    """Share of the grey range, in either direction."""
    background: str = ""
    """File name of the photograph, DRAWN_SCENE, or "" for plain white."""


@dataclass(frozen=True)
class Rendering:
    """A picture that is drawn when it is called. RGB, ``side`` x ``side`` pixels."""

    text: str
    twins: tuple[str, str]
    """The texts of both twins in this variant; ``text`` is one of the two."""
    pair: str
    variant: str
    side: int
    typeface: Typeface = Typeface()
    photographs: tuple[Path, ...] = ()
    seed: int = 0

    def __call__(self) -> Image.Image:
        rng = self._rng()
        style = self._style(rng)
        page = Image.new("RGB", (self.side, self.side), "white")
        if self.variant == "real_background":
            page = _lighten(self._background(style.background, rng))
        font = self.typeface.at(style.font_px)
        page.paste("black", mask=draw_coverage(self.text, self.side, font, style.angle))
        return add_noise(page, rng, style.noise) if style.noise else page

    def style(self) -> RenderStyle:
        """The parameters of this picture. Raises CalibError for a text too long to be legible."""
        return self._style(self._rng())

    def fits(self) -> bool:
        """Whether the text fits at a legible font size."""
        angle = self._angle(self._rng())
        return fits(self.twins, self.side, self.typeface, self.smallest, angle)

    def photograph(self) -> Path | None:
        """The file of the background, if it is a photograph."""
        return self._photograph(self._rng())

    @property
    def smallest(self) -> int:
        """The minimum font size of this variant, in pixels."""
        small = max(SMALL_LEAST, round(SMALL_SHARE * self.side))
        return small if self.variant == "small_font" else round(SMALLEST * small)

    def _rng(self) -> np.random.Generator:
        key = f"{self.seed}/{self.pair}/{self.variant}".encode()
        return np.random.default_rng(int.from_bytes(hashlib.sha256(key).digest()[:8], "big"))

    def _angle(self, rng: np.random.Generator) -> float:
        return random_angle(rng) if self.variant == "rotation" else 0.0

    def _style(self, rng: np.random.Generator) -> RenderStyle:
        angle = self._angle(rng)
        noise = float(rng.uniform(LEAST_NOISE, NOISE)) if self.variant == "noise" else 0.0
        photograph = self._photograph(rng)
        background = photograph.name if photograph else ""
        if self.variant == "real_background" and not photograph:
            background = DRAWN_SCENE
        font_px: int | None = self.smallest
        if self.variant != "small_font":
            font_px = fitting_size(self.twins, self.side, self.typeface, self.smallest, angle)
        if font_px is None:
            raise CalibError(
                "too-large",
                f"{self.pair}: '{self.text[:60]}' is too long for {self.variant}: its font size "
                f"would be below {self.smallest} pixels. Shorten it.",
            )
        return RenderStyle(font_px, angle, noise, background)

    def _photograph(self, rng: np.random.Generator) -> Path | None:
        if self.variant != "real_background" or not self.photographs:
            return None
        return self.photographs[int(rng.integers(len(self.photographs)))]

    def _background(self, background: str, rng: np.random.Generator) -> Image.Image:
        if background == DRAWN_SCENE:
            return soft_scene((self.side, self.side), rng)
        photograph = read_image(next(p for p in self.photographs if p.name == background))
        crop = min(photograph.size)
        left, top = (int(rng.integers(length - crop + 1)) for length in photograph.size)
        box = (left, top, left + crop, top + crop)
        return photograph.resize((self.side, self.side), Image.Resampling.LANCZOS, box)


def find_photographs(folder: Path) -> tuple[Path, ...]:
    """The pictures in a folder, sorted by name. Raises CalibError if there are none."""
    if not folder.is_dir():
        raise CalibError(
            "not-found",
            f"data.backgrounds={folder} is not a folder. Give a folder of photographs.",
        )
    endings = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
    photographs = sorted(path for path in folder.iterdir() if path.suffix.lower() in endings)
    if not photographs:
        raise CalibError(
            "too-few",
            f"data.backgrounds={folder} contains no pictures ({', '.join(endings)}). Put "
            "photographs there, or omit the setting to use drawn scenes.",
        )
    return tuple(photographs)


def _lighten(image: Image.Image) -> Image.Image:
    return image.point(lambda value: round(255 - (255 - value) * LIGHTENED))
