"""The recipes of both mini models: their worlds, sizes and training stages."""

from collections.abc import Mapping
from dataclasses import dataclass

from calib.data.mini.behaviour import Behaviour
from calib.data.mini.first.behaviour import FIRST_BEHAVIOUR
from calib.data.mini.first.world import FIRST
from calib.data.mini.second.behaviour import SECOND_BEHAVIOUR
from calib.data.mini.second.world import SECOND
from calib.data.mini.world import World
from experiments.mini_internvl.scenes import Scenes


@dataclass(frozen=True)
class Stage:
    """A training stage."""

    name: str
    steps: int
    rows: int  # pictures per step
    rate: float
    vision_rate: float
    decay: float = 0.05
    horizon: int | None = None
    """Length of the learning-rate schedule in steps, if it exceeds the length of the stage."""
    frozen: bool = False
    """Whether the vision tower is frozen, so that each picture passes it once."""
    name_weight: float = 0.0
    """Weight of the loss that makes features of a picture similar to the embedding of the name of
    what it shows; only where the vision tower is frozen."""
    groups: int = 1
    """Number of batches that the rows of a step are sorted into by length, to save padding."""


@dataclass(frozen=True, eq=False)
class Recipe:
    """Everything that distinguishes the training of one mini model from that of the other."""

    name: str
    """Name of the model, and of the folder of its checkpoint."""
    world: World
    behaviour: Behaviour
    stages: tuple[Stage, ...]
    shares: Mapping[str, Mapping[str, float]]
    """By stage: the probabilities of the kinds of scene; "none" is no picture."""
    vision_width: int
    vision_intermediate: int
    vocabulary: int = 1024
    """Largest number of tokens of the tokenizer."""
    jitters: Mapping[str, int] | None = None
    """Number of pictures of each combination, by kind; None draws a new one every time."""
    patchwise: bool = False
    """Whether the vision tower learns the object or letter in each patch too, which teaches it to
    read much sooner, and shifted and brightened pictures."""
    preferred: float = 1.0
    """Share of responses in the wording that a query prefers, before the rest is drawn from all."""

    @property
    def scenes(self) -> Scenes:
        """The scenes that this recipe trains on."""
        return Scenes(self.world.objects, self.jitters)


FIRST_RECIPE = Recipe(
    name="mini_internvl",
    world=FIRST,
    behaviour=FIRST_BEHAVIOUR,
    stages=(
        # Shorter than its schedule, because later stages continue to train the tower.
        Stage("vision", steps=5000, rows=64, rate=1.5e-3, vision_rate=1.5e-3, horizon=9000),
        Stage("alignment", steps=500, rows=24, rate=1.5e-3, vision_rate=3e-4, decay=0.01),
        Stage(
            "mixture", steps=2250, rows=24, rate=1.5e-3, vision_rate=3e-4, decay=0.01, horizon=4500
        ),
        # As the mixture, with more counting and reading, while the learning rate decays.
        Stage("polish", steps=1000, rows=24, rate=8e-4, vision_rate=3e-4, decay=0.01),
    ),
    shares={
        "vision": {"object": 0.5, "group": 0.12, "text": 0.38},
        "alignment": {"object": 0.8, "group": 0.2},
        "mixture": {"object": 0.6, "group": 0.1, "text": 0.25, "none": 0.05},
        "polish": {"object": 0.45, "group": 0.25, "text": 0.27, "none": 0.03},
    },
    vision_width=96,
    vision_intermediate=384,
)

SECOND_RECIPE = Recipe(
    name="mini_internvl_2",
    world=SECOND,
    behaviour=SECOND_BEHAVIOUR,
    stages=(
        Stage("vision", steps=9000, rows=64, rate=1.5e-3, vision_rate=1.5e-3, horizon=9500),
        Stage(
            "alignment", steps=1000, rows=32, rate=1.5e-3, vision_rate=0.0, decay=0.01, frozen=True,
            name_weight=0.5, groups=3,
        ),
        Stage(
            "mixture", steps=2500, rows=32, rate=1.5e-3, vision_rate=0.0, decay=0.01, horizon=4500,
            frozen=True, name_weight=0.1, groups=3,
        ),
        Stage(
            "polish", steps=1000, rows=32, rate=6e-4, vision_rate=1.5e-4, decay=0.01, groups=3
        ),
    ),
    shares={
        "vision": {"object": 0.5, "group": 0.1, "text": 0.4},
        "alignment": {"object": 0.55, "group": 0.1, "text": 0.2, "none": 0.15},
        "mixture": {"object": 0.62, "group": 0.06, "text": 0.22, "none": 0.1},
        "polish": {"object": 0.57, "group": 0.1, "text": 0.25, "none": 0.08},
    },
    vision_width=128,
    vision_intermediate=384,
    vocabulary=2048,
    jitters={"object": 8, "group": 3, "text": 24},
    patchwise=True,
    preferred=0.7,
)  # fmt: skip

RECIPES: Mapping[str, Recipe] = {"first": FIRST_RECIPE, "second": SECOND_RECIPE}
