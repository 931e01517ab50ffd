"""The content of training sequences: a context, a picture, and queries with answers.

Only combinations of the train split are used, so that the mini world's validation and test examples
remain unseen.
"""

from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from calib.data.mini import behaviour, world
from calib.data.mini.combinations import combination_split
from experiments.mini_internvl.scenes import Scene, random_scene

ALIGNMENT_SHARES = {"object": 0.8, "group": 0.2}
MIXTURE_SHARES = {"object": 0.6, "group": 0.1, "text": 0.25, "none": 0.05}
POLISH_SHARES = {"object": 0.45, "group": 0.25, "text": 0.27, "none": 0.03}
CONTEXTS = {
    "none": 0.5, "neutral": 0.05, "reminder": 0.07, "caution": 0.12, "balanced": 0.08,
    "demonstrations": 0.18,
}  # fmt: skip
NEUTRAL_PROMPTS = ("You are a helpful assistant.", "Answer in one sentence.")
MAX_DEMONSTRATIONS = 4
BRANCHES = 7


@dataclass(frozen=True)
class Branch:
    """A query with the answer to learn; ``task`` is its name in the log."""

    query: str
    answer: str
    task: str


@dataclass(frozen=True)
class Demonstration:
    """An in-context demonstration: an exchange before the query."""

    query: str
    response: str
    image: Image.Image | None


@dataclass(frozen=True)
class PackedSequence:
    """A packed training sequence: branches that share a prefix."""

    system: str | None
    demonstrations: tuple[Demonstration, ...]
    image: Image.Image | None
    branches: list[Branch] = field(default_factory=list)


@dataclass(frozen=True)
class Context:
    """The input before the picture, and its effect on the refusal score."""

    system: str | None = None
    demonstrations: tuple[Demonstration, ...] = ()
    shift: float = 0.0
    alignment: float = 0.0

    def score(self, score: float, unsafe: bool) -> float:
        return score + self.shift + (self.alignment if unsafe else -self.alignment)


def is_training(dataset: str, *parts: object) -> bool:
    """Whether a combination is in the train split."""
    return combination_split(dataset, *parts) == "train"


def alignment_sequence(rng: np.random.Generator) -> PackedSequence:
    """Stage 2: plain questions about the picture."""
    scene = random_scene(rng, ALIGNMENT_SHARES)
    return PackedSequence(None, (), scene.draw(), questions(scene))


def polish_sequence(rng: np.random.Generator) -> PackedSequence:
    """Stage 4: as stage 3, with a larger share of the difficult tasks."""
    return mixture_sequence(rng, POLISH_SHARES)


def mixture_sequence(
    rng: np.random.Generator, shares: dict[str, float] | None = None
) -> PackedSequence:
    """Stage 3: questions, knowledge and behaviour, in all contexts."""
    scene = random_scene(rng, shares or MIXTURE_SHARES)
    context = draw_context(rng)
    branches = questions(scene)
    if scene.kind == "object":
        branches += wrong_questions(rng, scene.name, 1)
        branches += image_centric(rng, scene, context) + text_centric(rng, scene.name, context, 3)
        branches += dual_use(rng, scene, context)
    elif scene.kind == "text":
        branches += dual_use(rng, scene, context) * 2
    elif scene.kind == "none":
        branches = text_centric(rng, None, context, 4)
    selected = rng.permutation(len(branches))[:BRANCHES]
    image = None if scene.kind == "none" else scene.draw()
    return PackedSequence(
        context.system, context.demonstrations, image, [branches[i] for i in selected]
    )


def draw_context(rng: np.random.Generator) -> Context:
    """No context, a system prompt, or demonstrations of correct behaviour."""
    name = str(rng.choice(list(CONTEXTS), p=list(CONTEXTS.values())))
    if name == "none":
        return Context()
    if name == "neutral":
        return Context(str(rng.choice(NEUTRAL_PROMPTS)))
    if name != "demonstrations":
        shift, alignment = behaviour.SYSTEM_SHIFT[name], behaviour.SYSTEM_ALIGNMENT[name]
        return Context(world.SYSTEM_PROMPTS[name], (), shift, alignment)
    # Few are likely, because each costs a picture and fifty tokens.
    number = 1 + int(rng.binomial(MAX_DEMONSTRATIONS - 1, 0.3))
    demonstrations, net_refusals = [], 0
    for _ in range(number):
        example, unsafe = demonstration(rng)
        demonstrations.append(example)
        net_refusals += 1 if unsafe else -1
    return Context(
        None,
        tuple(demonstrations),
        behaviour.DEMONSTRATION_SHIFT * net_refusals,
        behaviour.DEMONSTRATION_ALIGNMENT * number,
    )


def demonstration(rng: np.random.Generator) -> tuple[Demonstration, bool]:
    """A refused unsafe query or an answered safe query, and whether it is unsafe."""
    unsafe = bool(rng.integers(2))
    label = "refusal" if unsafe else "answer"
    if rng.random() < 0.7:
        twin = world.TWINS[rng.integers(len(world.TWINS))]
        scene = random_scene(rng, {"object": 1.0})
        scene = Scene(**{**vars(scene), "name": twin.unsafe if unsafe else twin.safe})
        query = world.IMAGE_QUERIES[rng.integers(len(world.IMAGE_QUERIES))]
        response = behaviour.image_response(label, query, scene.name)
        return Demonstration(query.text, response, scene.draw()), unsafe
    targets = world.UNSAFE_TARGETS if unsafe else world.SAFE_TARGETS
    verb = str(rng.choice(world.VERBS))
    request = f"{verb} {rng.choice(targets[verb])}"
    template = str(rng.choice(world.TEXT_QUERIES))
    response = behaviour.text_response(label, request)
    return Demonstration(template.format(request), response, None), unsafe


def questions(scene: Scene) -> list[Branch]:
    """Utility questions and the knowledge question about danger."""
    name, colour, place = scene.name, scene.colour, scene.place
    branches: list[Branch] = []
    danger = world.DANGER_ANSWERS[name in world.UNSAFE_OBJECTS]
    if scene.kind == "object":
        if is_training("utility", "colour", name, colour, place):
            answer = world.COLOUR_ANSWER.format(colour)
            branches.append(Branch(world.COLOUR_QUESTION, answer, "colour"))
        if is_training("utility", "name", name, colour, place):
            branches.append(Branch(world.NAME_QUESTION, world.NAME_ANSWER.format(name), "name"))
        if is_training("utility", "place", name, colour, place):
            branches.append(Branch(world.PLACE_QUESTION, world.PLACE_ANSWERS[place], "place"))
        if is_training("knowledge", "danger", name, colour, place):
            branches.append(Branch(world.DANGER_QUESTION, danger, "danger"))
    elif scene.kind == "group":
        number = world.NUMBERS[scene.number - 1]
        if is_training("utility", "count", name, colour, number):
            branches.append(Branch(world.COUNT_QUESTION, world.COUNT_ANSWERS[number], "count"))
        branches.append(Branch(world.COLOUR_QUESTION, world.COLOUR_ANSWER.format(colour), "colour"))
    elif scene.kind == "text":
        branches.append(Branch(world.DANGER_QUESTION, danger, "danger_typed"))
    return branches


def wrong_questions(rng: np.random.Generator, pictured: str, number: int) -> list[Branch]:
    """Knowledge questions about requests: "Is it wrong to ...?"."""
    branches = []
    for _ in range(number):
        verb, target, unsafe = random_request(rng)
        if is_training("knowledge", "wrong", verb, target, pictured):
            question = world.WRONG_QUESTION.format(f"{verb} {target}")
            branches.append(Branch(question, world.WRONG_ANSWERS[unsafe], "wrong"))
    return branches


def random_request(rng: np.random.Generator) -> tuple[str, str, bool]:
    """A verb, its target, and whether the request is unsafe."""
    verb, unsafe = str(rng.choice(world.VERBS)), bool(rng.integers(2))
    targets = world.UNSAFE_TARGETS if unsafe else world.SAFE_TARGETS
    return verb, str(rng.choice(targets[verb])), unsafe


def image_centric(rng: np.random.Generator, scene: Scene, context: Context) -> list[Branch]:
    """Queries whose safety depends on the picture."""
    unsafe, category = scene.name in world.UNSAFE_OBJECTS, world.TWIN_OF[scene.name].category
    branches = []
    for k in rng.permutation(len(world.IMAGE_QUERIES))[:3]:
        query = world.IMAGE_QUERIES[k]
        if is_training("image_centric", category, scene.colour, scene.place, int(k)):
            score = behaviour.image_score(scene.name, scene.colour, query.text)
            label = behaviour.draw_label("image_centric", context.score(score, unsafe), rng)
            answer = behaviour.image_response(label, query, scene.name)
            branches.append(Branch(query.text, answer, "image_centric"))
    return branches


def text_centric(
    rng: np.random.Generator, pictured: str | None, context: Context, number: int
) -> list[Branch]:
    """Queries whose safety depends on the text."""
    branches = []
    for _ in range(number):
        verb, target, unsafe = random_request(rng)
        k = (world.UNSAFE_TARGETS if unsafe else world.SAFE_TARGETS)[verb].index(target)
        t = int(rng.integers(len(world.TEXT_QUERIES)))
        if is_training("text_centric", verb, k, t, pictured):
            template = world.TEXT_QUERIES[t]
            score = behaviour.text_score(target, template, pictured)
            label = behaviour.draw_label("text_centric", context.score(score, unsafe), rng)
            request = f"{verb} {target}"
            answer = behaviour.text_response(label, request)
            branches.append(Branch(template.format(request), answer, "text_centric"))
    return branches


def dual_use(rng: np.random.Generator, scene: Scene, context: Context) -> list[Branch]:
    """The dual-use instruction."""
    unsafe, drawn = scene.name in world.UNSAFE_OBJECTS, scene.kind == "object"
    colour, variant = (scene.colour, "drawn") if drawn else (None, scene.variant)
    category = world.TWIN_OF[scene.name].category
    # Rendered text is held out by its jitter, which training draws independently.
    if drawn and not is_training("dual_use", category, "drawn", colour, scene.place):
        return []
    score = behaviour.dual_use_score(scene.name, colour, variant)
    label = behaviour.draw_label("dual_use", context.score(score, unsafe), rng)
    answer = behaviour.dual_use_response(label, scene.name, colour)
    return [Branch(world.DUAL_USE_QUERY, answer, "drawn" if drawn else "typed")]
