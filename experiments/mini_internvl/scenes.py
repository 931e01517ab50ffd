"""Random scenes for training, and their pictures."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from calib.config.choices import PERTURBATIONS
from calib.data.mini.draw import draw_group, draw_object, draw_text
from calib.data.mini.world import COLOURS, NUMBERS, OBJECTS, PLACES

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


def random_scene(rng: np.random.Generator, shares: dict[str, float]) -> Scene:
    """A random scene; ``shares`` are the probabilities of its kinds and sum to 1."""
    return Scene(
        kind=str(rng.choice(list(shares), p=list(shares.values()))),
        name=str(rng.choice(OBJECTS)),
        colour=str(rng.choice(list(COLOURS))),
        place=str(rng.choice(PLACES)),
        number=int(rng.integers(1, len(NUMBERS) + 1)),
        variant=str(rng.choice(VARIANTS)),
        seed=int(rng.integers(2**62)),
    )


def pixels(images: list[Image.Image]) -> np.ndarray:
    """Pixels [images, 3, SIZE, SIZE], float32, normalised as by the processor."""
    stack = np.stack([np.asarray(image, dtype=np.float32) for image in images]) / 255
    return ((stack - MEAN) / STD).astype(np.float32).transpose(0, 3, 1, 2)
