"""Random scenes for training, and their pictures."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from calib.config.choices import PERTURBATIONS
from calib.data.mini.draw import SIZE, draw_group, draw_object, draw_text
from calib.data.mini.world import COLOURS, NUMBERS, PLACES

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
VARIANTS = ("original", *PERTURBATIONS)


@dataclass(frozen=True)
class Scene:
    """A picture of an object, of a group of one to four objects, or of rendered text."""

    kind: str  # object | group | text
    name: str
    colour: str
    place: str
    number: int
    variant: str
    seed: int

    def draw(self) -> Image.Image:
        match self.kind:
            case "object":
                return draw_object(self.name, self.colour, self.place, self.seed)
            case "group":
                return draw_group(self.name, self.colour, self.number, self.seed)
        return draw_text(self.name, self.variant, self.seed)


@dataclass(frozen=True)
class Scenes:
    """The scenes of a world. With ``jitters``, each combination has this number of pictures, by
    kind, so that pictures can be kept; without, no two pictures are the same."""

    objects: Sequence[str]
    jitters: Mapping[str, int] | None = None

    def random(self, rng: np.random.Generator, shares: Mapping[str, float]) -> Scene:
        """A random scene; ``shares`` are the probabilities of its kinds and sum to 1."""
        scene = Scene(
            kind=str(rng.choice(list(shares), p=list(shares.values()))),
            name=str(rng.choice(self.objects)),
            colour=str(rng.choice(list(COLOURS))),
            place=str(rng.choice(PLACES)),
            number=int(rng.integers(1, len(NUMBERS) + 1)),
            variant=str(rng.choice(VARIANTS)),
            seed=int(rng.integers(2**62)),
        )
        return self.limited(scene)

    def limited(self, scene: Scene) -> Scene:
        """The scene with one of the limited number of seeds, and without what its picture does not
        show, so that equal pictures are equal scenes."""
        if self.jitters is None or scene.kind not in self.jitters:
            return scene
        return self._numbered(scene, scene.seed % self.jitters[scene.kind])

    def all(self) -> list[Scene]:
        """Every scene, if their number is limited."""
        assert self.jitters is not None
        scenes = []
        for name in self.objects:
            for kind, jitters in self.jitters.items():
                for colour, place, number, variant in _shown(kind):
                    scene = Scene(kind, name, colour, place, number, variant, 0)
                    scenes += [self._numbered(scene, k) for k in range(jitters)]
        return scenes

    def _numbered(self, scene: Scene, number: int) -> Scene:
        colour, place, count, variant = (
            scene.colour if scene.kind != "text" else "black",
            scene.place if scene.kind == "object" else "left",
            scene.number if scene.kind == "group" else 1,
            scene.variant if scene.kind == "text" else "original",
        )
        # Unlike in the examples, twins and variants of a number do not share their jitter here.
        shown = (scene.kind, scene.name, colour, place, count, number, variant)
        key = "/".join(map(str, ("scene", *shown)))
        seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:6], "big")
        return Scene(scene.kind, scene.name, colour, place, count, variant, seed)


def _shown(kind: str) -> list[tuple[str, str, int, str]]:
    """Colour, place, number and variant of each combination of an object."""
    if kind == "text":
        return [("black", "left", 1, variant) for variant in VARIANTS]
    if kind == "group":
        numbers = range(1, len(NUMBERS) + 1)
        return [(colour, "left", n, "original") for colour in COLOURS for n in numbers]
    return [(colour, place, 1, "original") for colour in COLOURS for place in PLACES]


class Gallery:
    """Pictures of scenes as pixels, each drawn once if they are kept."""

    def __init__(self, keep: bool) -> None:
        self._keep = keep
        self._drawn: dict[Scene, np.ndarray] = {}

    def pictures(self, scenes: Sequence[Scene]) -> np.ndarray:
        """The pictures, uint8 [scenes, SIZE, SIZE, 3]."""
        if not scenes:
            return np.empty((0, SIZE, SIZE, 3), np.uint8)
        return np.stack([self._picture(scene) for scene in scenes])

    def _picture(self, scene: Scene) -> np.ndarray:
        if scene not in self._drawn:
            picture = np.asarray(scene.draw())
            if not self._keep:
                return picture
            self._drawn[scene] = picture
        return self._drawn[scene]


def pixels(pictures: np.ndarray) -> np.ndarray:
    """Pixels [pictures, 3, SIZE, SIZE], float32, normalised as by the processor."""
    stack = pictures.astype(np.float32) / 255
    return ((stack - MEAN) / STD).astype(np.float32).transpose(0, 3, 1, 2)
