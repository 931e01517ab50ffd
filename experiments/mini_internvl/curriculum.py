"""What one training sequence teaches: a picture, its setting, and queries with answers.

Only combinations of the training split are used, so that the validation and test examples of the
mini world stay unseen.
"""

from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from calib.data.mini import behaviour, world
from calib.data.mini.examples import combination_split
from experiments.mini_internvl.scenes import Scene, random_scene

ALIGNMENT_SHARES = {"object": 0.8, "group": 0.2}
MIXTURE_SHARES = {"object": 0.6, "group": 0.1, "text": 0.25, "none": 0.05}
POLISH_SHARES = {"object": 0.45, "group": 0.25, "text": 0.27, "none": 0.03}
SETTINGS = {
    "none": 0.5, "neutral": 0.05, "reminder": 0.07, "caution": 0.12, "balanced": 0.08,
    "demonstrations": 0.18,
}  # fmt: skip
NEUTRAL_PROMPTS = ("You are a helpful assistant.", "Answer in one sentence.")
MOST_DEMONSTRATIONS = 4
BRANCHES = 7


@dataclass(frozen=True)
class Branch:
    """One query with the answer to learn; ``task`` names it in the log."""

    query: str
    answer: str
    task: str


@dataclass(frozen=True)
class Shown:
    """A demonstration: an earlier turn."""

    query: str
    response: str
    image: Image.Image | None


@dataclass(frozen=True)
class Lesson:
    """One packed sequence."""

    system: str | None
    demonstrations: tuple[Shown, ...]
    image: Image.Image | None
    branches: list[Branch] = field(default_factory=list)


@dataclass(frozen=True)
class Setting:
    """What stands before the picture, and how it moves the refusal score."""

    system: str | None = None
    demonstrations: tuple[Shown, ...] = ()
    shift: float = 0.0
    alignment: float = 0.0

    def score(self, score: float, unsafe: bool) -> float:
        return score + self.shift + (self.alignment if unsafe else -self.alignment)


def is_training(dataset: str, *parts: object) -> bool:
    """Whether a combination may be trained on."""
    return combination_split(dataset, *parts) == "train"


def alignment_lesson(rng: np.random.Generator) -> Lesson:
    """Stage 2: plain questions about the picture."""
    scene = random_scene(rng, ALIGNMENT_SHARES)
    return Lesson(None, (), scene.draw(), questions(scene))


def polish_lesson(rng: np.random.Generator) -> Lesson:
    """Stage 4: what stage 3 teaches, with more of what is hard."""
    return mixture_lesson(rng, POLISH_SHARES)


def mixture_lesson(rng: np.random.Generator, shares: dict[str, float] | None = None) -> Lesson:
    """Stage 3: questions, knowledge and behaviour, in all settings."""
    scene = random_scene(rng, shares or MIXTURE_SHARES)
    setting = draw_setting(rng)
    asked = questions(scene)
    if scene.kind == "object":
        asked += wrong_questions(rng, scene.name, 1)
        asked += image_centric(rng, scene, setting) + text_centric(rng, scene.name, setting, 3)
        asked += described(rng, scene, setting)
    elif scene.kind == "text":
        asked += described(rng, scene, setting) * 2
    elif scene.kind == "none":
        asked = text_centric(rng, None, setting, 4)
    chosen = rng.permutation(len(asked))[:BRANCHES]
    image = None if scene.kind == "none" else scene.draw()
    return Lesson(setting.system, setting.demonstrations, image, [asked[i] for i in chosen])


def draw_setting(rng: np.random.Generator) -> Setting:
    """No prompt, a system prompt, or demonstrations of right behaviour."""
    name = str(rng.choice(list(SETTINGS), p=list(SETTINGS.values())))
    if name == "none":
        return Setting()
    if name == "neutral":
        return Setting(str(rng.choice(NEUTRAL_PROMPTS)))
    if name != "demonstrations":
        shift, alignment = behaviour.SYSTEM_SHIFT[name], behaviour.SYSTEM_ALIGNMENT[name]
        return Setting(world.SYSTEM_PROMPTS[name], (), shift, alignment)
    # Few are the rule: each costs a picture and fifty tokens.
    number = 1 + int(rng.binomial(MOST_DEMONSTRATIONS - 1, 0.3))
    shown, refused = [], 0
    for _ in range(number):
        turn, unsafe = demonstration(rng)
        shown.append(turn)
        refused += 1 if unsafe else -1
    return Setting(
        None,
        tuple(shown),
        behaviour.DEMONSTRATION_SHIFT * refused,
        behaviour.DEMONSTRATION_ALIGNMENT * number,
    )


def demonstration(rng: np.random.Generator) -> tuple[Shown, bool]:
    """An unsafe query that is refused or a safe one that is answered; and which of the two."""
    unsafe = bool(rng.integers(2))
    label = "refusal" if unsafe else "answer"
    if rng.random() < 0.7:
        twin = world.TWINS[rng.integers(len(world.TWINS))]
        scene = random_scene(rng, {"object": 1.0})
        scene = Scene(**{**vars(scene), "name": twin.unsafe if unsafe else twin.safe})
        query = world.IMAGE_QUERIES[rng.integers(len(world.IMAGE_QUERIES))]
        response = behaviour.image_response(label, query, scene.name)
        return Shown(query.text, response, scene.draw()), unsafe
    targets = world.UNSAFE_TARGETS if unsafe else world.SAFE_TARGETS
    verb = str(rng.choice(world.VERBS))
    request = f"{verb} {rng.choice(targets[verb])}"
    template = str(rng.choice(world.TEXT_QUERIES))
    return Shown(template.format(request), behaviour.text_response(label, request), None), unsafe


def questions(scene: Scene) -> list[Branch]:
    """Utility questions and the danger probe."""
    name, colour, place = scene.name, scene.colour, scene.place
    found: list[Branch] = []
    danger = world.DANGER_ANSWERS[name in world.UNSAFE_OBJECTS]
    if scene.kind == "object":
        if is_training("utility", "colour", name, colour, place):
            answer = world.COLOUR_ANSWER.format(colour)
            found.append(Branch(world.COLOUR_QUESTION, answer, "colour"))
        if is_training("utility", "name", name, colour, place):
            found.append(Branch(world.NAME_QUESTION, world.NAME_ANSWER.format(name), "name"))
        if is_training("utility", "place", name, colour, place):
            found.append(Branch(world.PLACE_QUESTION, world.PLACE_ANSWERS[place], "place"))
        if is_training("knowledge", "danger", name, colour, place):
            found.append(Branch(world.DANGER_QUESTION, danger, "danger"))
    elif scene.kind == "group":
        number = world.NUMBERS[scene.number - 1]
        if is_training("utility", "count", name, colour, number):
            found.append(Branch(world.COUNT_QUESTION, world.COUNT_ANSWERS[number], "count"))
        found.append(Branch(world.COLOUR_QUESTION, world.COLOUR_ANSWER.format(colour), "colour"))
    elif scene.kind == "text":
        found.append(Branch(world.DANGER_QUESTION, danger, "danger_typed"))
    return found


def wrong_questions(rng: np.random.Generator, pictured: str, number: int) -> list[Branch]:
    """The text knowledge probe."""
    found = []
    for _ in range(number):
        verb, target, unsafe = random_request(rng)
        if is_training("knowledge", "wrong", verb, target, pictured):
            question = world.WRONG_QUESTION.format(f"{verb} {target}")
            found.append(Branch(question, world.WRONG_ANSWERS[unsafe], "wrong"))
    return found


def random_request(rng: np.random.Generator) -> tuple[str, str, bool]:
    """A verb, its target, and whether that is unsafe."""
    verb, unsafe = str(rng.choice(world.VERBS)), bool(rng.integers(2))
    targets = world.UNSAFE_TARGETS if unsafe else world.SAFE_TARGETS
    return verb, str(rng.choice(targets[verb])), unsafe


def image_centric(rng: np.random.Generator, scene: Scene, setting: Setting) -> list[Branch]:
    """Queries whose safety lies in the picture."""
    unsafe, category = scene.name in world.UNSAFE_OBJECTS, world.TWIN_OF[scene.name].category
    found = []
    for k in rng.permutation(len(world.IMAGE_QUERIES))[:3]:
        query = world.IMAGE_QUERIES[k]
        if is_training("image_centric", category, scene.colour, scene.place, int(k)):
            score = behaviour.image_score(scene.name, scene.colour, query.text)
            label = behaviour.draw_label("image_centric", setting.score(score, unsafe), rng)
            answer = behaviour.image_response(label, query, scene.name)
            found.append(Branch(query.text, answer, "image_centric"))
    return found


def text_centric(
    rng: np.random.Generator, pictured: str | None, setting: Setting, number: int
) -> list[Branch]:
    """Queries whose safety lies in the text."""
    found = []
    for _ in range(number):
        verb, target, unsafe = random_request(rng)
        k = (world.UNSAFE_TARGETS if unsafe else world.SAFE_TARGETS)[verb].index(target)
        t = int(rng.integers(len(world.TEXT_QUERIES)))
        if is_training("text_centric", verb, k, t, pictured):
            template = world.TEXT_QUERIES[t]
            score = behaviour.text_score(target, template, pictured)
            label = behaviour.draw_label("text_centric", setting.score(score, unsafe), rng)
            request = f"{verb} {target}"
            answer = behaviour.text_response(label, request)
            found.append(Branch(template.format(request), answer, "text_centric"))
    return found


def described(rng: np.random.Generator, scene: Scene, setting: Setting) -> list[Branch]:
    """The dual-use instruction."""
    unsafe, drawn = scene.name in world.UNSAFE_OBJECTS, scene.kind == "object"
    colour, variant = (scene.colour, "drawn") if drawn else (None, scene.variant)
    category = world.TWIN_OF[scene.name].category
    # Rendered text is held out by its jitter: training draws its own.
    if drawn and not is_training("dual_use", category, "drawn", colour, scene.place):
        return []
    score = behaviour.dual_use_score(scene.name, colour, variant)
    label = behaviour.draw_label("dual_use", setting.score(score, unsafe), rng)
    answer = behaviour.dual_use_response(label, scene.name, colour)
    return [Branch(world.DUAL_USE_QUERY, answer, "drawn" if drawn else "typed")]
