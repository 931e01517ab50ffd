"""An instruction as a picture, as it is or in one of DUAL-Bench's five perturbations (§3.3).

The paper names the perturbations and says that twins share their random draws; the numbers are
ours, with sizes for the usual picture of 448 pixels:

    original         black letters on white, as large as fits inside margins of 6 % on every side,
                     and at least 28 px (SMALLEST times the small font)
    real_background  the same letters on a photograph, or on a drawn scene where there is none,
                     cropped to a square at random and lightened so that its blackest pixel becomes
                     a middle grey: the text keeps a contrast of at least 4.5 to 1 (WCAG AA)
    noise            uniform noise on every pixel and channel of the original, at most 20 to 33 % of
                     the grey range either way, the level drawn
    rotation         the text turned about the centre by 6 to 12 degrees either way, its letters as
                     large as fits inside the margins turned
    small_font       letters of 20 px (SMALL_SHARE of the side, never less than SMALL_LEAST)
    translation      the translated text, drawn as the original is

The size of the letters is the largest that fits both twins. Everything random is drawn from a hash
of (seed, pair, variant), so any picture can be drawn alone.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from calib.config.choices import PERTURBATIONS
from calib.data.dualbench.typesetting import Typeface, fits, fitting_size, ink_of
from calib.data.images import read_image
from calib.data.text_image import NOISE, add_noise, random_angle, soft_scene
from calib.util.errors import CalibError

VARIANTS = ("original", *PERTURBATIONS)

SMALL_SHARE, SMALL_LEAST = 20 / 448, 12
"""Size of the small font: share of the picture's side, and pixels."""
SMALLEST = 1.4
"""The smallest size of the other letters, in small fonts."""
LEAST_NOISE = 0.2  # share of the grey range; NOISE is the most
LIGHTENED = 0.5
"""What is left of the distance between a background's colours and white."""
DRAWN_SCENE = "drawn scene"


@dataclass(frozen=True)
class RenderStyle:
    """What was drawn for a picture; the same for both twins."""

    font_px: int
    angle: float = 0.0
    """Degrees, positive is against the clock."""
    noise: float = 0.0
    """Share of the grey range, either way."""
    background: str = ""
    """Name of the photograph, DRAWN_SCENE, or "" for plain paper."""


@dataclass(frozen=True)
class Rendering:
    """A picture that is drawn when it is asked for. RGB, ``side`` pixels square."""

    text: str
    twins: tuple[str, str]
    """The texts of both twins in this variant, of which ``text`` is one."""
    pair: str
    variant: str
    side: int
    typeface: Typeface = Typeface()
    photographs: tuple[Path, ...] = ()
    seed: int = 0

    def __call__(self) -> Image.Image:
        rng = self._rng()
        look = self._look(rng)
        page = Image.new("RGB", (self.side, self.side), "white")
        if self.variant == "real_background":
            page = _lightened(self._behind(look.background, rng))
        ink = ink_of(self.text, self.side, self.typeface.at(look.font_px), look.angle)
        page.paste("black", mask=ink)
        return add_noise(page, rng, look.noise) if look.noise else page

    def look(self) -> RenderStyle:
        """What this picture is drawn with. Raises CalibError for a text too long to be read."""
        return self._look(self._rng())

    def fits(self) -> bool:
        """Whether the letters are large enough to be read."""
        angle = self._angle(self._rng())
        return fits(self.twins, self.side, self.typeface, self.smallest, angle)

    def photograph(self) -> Path | None:
        """The file that is drawn as background, if one is."""
        return self._photograph(self._rng())

    @property
    def smallest(self) -> int:
        """The smallest size of letters in this variant, in pixels."""
        small = max(SMALL_LEAST, round(SMALL_SHARE * self.side))
        return small if self.variant == "small_font" else round(SMALLEST * small)

    def _rng(self) -> np.random.Generator:
        key = f"{self.seed}/{self.pair}/{self.variant}".encode()
        return np.random.default_rng(int.from_bytes(hashlib.sha256(key).digest()[:8], "big"))

    def _angle(self, rng: np.random.Generator) -> float:
        return random_angle(rng) if self.variant == "rotation" else 0.0

    def _look(self, rng: np.random.Generator) -> RenderStyle:
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
                f"{self.pair}: '{self.text[:60]}' is too long for {self.variant}, whose letters "
                f"would be smaller than {self.smallest} pixels. Shorten it."
            )
        return RenderStyle(font_px, angle, noise, background)

    def _photograph(self, rng: np.random.Generator) -> Path | None:
        if self.variant != "real_background" or not self.photographs:
            return None
        return self.photographs[int(rng.integers(len(self.photographs)))]

    def _behind(self, background: str, rng: np.random.Generator) -> Image.Image:
        if background == DRAWN_SCENE:
            return soft_scene((self.side, self.side), rng)
        photograph = read_image(next(p for p in self.photographs if p.name == background))
        part = min(photograph.size)
        left, top = (int(rng.integers(length - part + 1)) for length in photograph.size)
        box = (left, top, left + part, top + part)
        return photograph.resize((self.side, self.side), Image.Resampling.LANCZOS, box)


def photographs_in(folder: Path) -> tuple[Path, ...]:
    """The pictures in a folder, in the order of their names.

    Raises CalibError where there are none.
    """
    if not folder.is_dir():
        raise CalibError(f"data.backgrounds: {folder} is no folder. Give one with photographs.")
    endings = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in endings)
    if not found:
        raise CalibError(
            f"data.backgrounds: {folder} holds no pictures ({', '.join(endings)}). Put photographs "
            "there, or leave the setting away to have scenes drawn."
        )
    return tuple(found)


def _lightened(image: Image.Image) -> Image.Image:
    return image.point(lambda value: round(255 - (255 - value) * LIGHTENED))
