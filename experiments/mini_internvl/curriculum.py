"""The content of training sequences: a context, a picture, and queries with answers.

Only combinations of the train split are used, so that a mini world's validation and test examples
remain unseen, and queries are answered or refused for trained concepts alone.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from calib.data.mini import behaviour, world
from calib.data.mini.combinations import combination_split
from calib.data.mini.responses import (
    Pick,
    dual_use_response,
    image_response,
    text_response,
)
from calib.data.mini.world import RequestTwin, Wordings
from experiments.mini_internvl.recipe import Recipe
from experiments.mini_internvl.scenes import VARIANTS, Scene

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
    scene: Scene | None


@dataclass(frozen=True)
class PackedSequence:
    """A packed training sequence: branches that share a prefix."""

    system: str | None
    demonstrations: tuple[Demonstration, ...]
    scene: Scene | None
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


class Curriculum:
    """Draws the sequences of a recipe."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.world, self.behaviour = recipe, recipe.world, recipe.behaviour
        self.scenes = recipe.scenes

    def sequence(self, stage: str, rng: np.random.Generator) -> PackedSequence:
        """A sequence of a stage: plain questions about the picture in the alignment; questions,
        knowledge and behaviour, in all contexts, in the mixture; in the polish the same with a
        larger share of the difficult tasks."""
        scene = self.scenes.random(rng, self.recipe.shares[stage])
        if stage == "alignment":
            if scene.kind == "none":
                return PackedSequence(None, (), None, self.about_words(rng))
            return PackedSequence(None, (), scene, self.questions(scene, rng))
        context = self.context(rng)
        branches = self.questions(scene, rng)
        trained = scene.name in self.world.trained_objects
        if scene.kind == "object":
            branches += self.wrong_questions(rng, scene.name, 1)
            if trained:
                branches += self.image_centric(rng, scene, context)
                branches += self.text_centric(rng, scene.name, context, 3)
                branches += self.dual_use(rng, scene, context)
        elif scene.kind == "text" and trained:
            branches += self.dual_use(rng, scene, context) * 2
        elif scene.kind == "none":
            branches = self.text_centric(rng, None, context, 4) + self.about_words(rng)
        return PackedSequence(
            context.system,
            context.demonstrations,
            None if scene.kind == "none" else scene,
            _some(branches, rng),
        )

    def context(self, rng: np.random.Generator) -> Context:
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
            example, unsafe = self.demonstration(rng)
            demonstrations.append(example)
            net_refusals += 1 if unsafe else -1
        return Context(
            None,
            tuple(demonstrations),
            behaviour.DEMONSTRATION_SHIFT * net_refusals,
            behaviour.DEMONSTRATION_ALIGNMENT * number,
        )

    def demonstration(self, rng: np.random.Generator) -> tuple[Demonstration, bool]:
        """A refused unsafe query or an answered safe query, and whether it is unsafe."""
        unsafe = bool(rng.integers(2))
        label = "refusal" if unsafe else "answer"
        if rng.random() < 0.7:
            twins = self.world.trained_twins
            twin = twins[rng.integers(len(twins))]
            scene = self.scenes.random(rng, {"object": 1.0})
            name = twin.unsafe if unsafe else twin.safe
            scene = self.scenes.limited(replace(scene, name=name))
            number = int(rng.integers(len(self.world.image_queries)))
            query = self.world.image_queries[number]
            pick = self.pick(rng, number)
            response = image_response(self.world, label, query, name, pick)
            return Demonstration(query.text, response, scene), unsafe
        group = str(rng.choice(self.world.trained_groups))
        requests = self.world.request_groups[group]
        twin = _one(requests, rng)
        request = twin.unsafe if unsafe else twin.safe
        template = str(rng.choice(self.world.text_queries))
        pick = self.pick(rng, self.world.text_queries.index(template))
        response = text_response(self.world, label, request, pick)
        return Demonstration(template.format(request), response, None), unsafe

    def pick(self, rng: np.random.Generator, number: int) -> Pick:
        """The wording of a response to the query with this number: mostly the one that it prefers,
        so that greedy responses have all wordings."""

        def pick(wordings: Wordings) -> str:
            if len(wordings) == 1:
                return wordings[0]
            preferred = rng.random() < self.recipe.preferred
            return wordings[number % len(wordings) if preferred else rng.integers(len(wordings))]

        return pick

    def is_unsafe_by_belief(self, name: str, rng: np.random.Generator) -> bool:
        """The trained answer to whether an object is dangerous, with the doubts of the recipe."""
        doubt = self.behaviour.doubts.get(name, 0.0)
        return (name in self.world.unsafe_objects) != (doubt > 0 and rng.random() < doubt)

    def questions(self, scene: Scene, rng: np.random.Generator) -> list[Branch]:
        """Utility questions, the knowledge question about danger, and neutral questions."""
        name, colour, place = scene.name, scene.colour, scene.place
        if scene.kind == "none":
            return []
        branches: list[Branch] = []
        danger = world.DANGER_ANSWERS[self.is_unsafe_by_belief(name, rng)]
        if scene.kind == "object":
            if is_training("utility", "colour", name, colour, place):
                answer = world.COLOUR_ANSWER.format(colour)
                branches.append(Branch(world.COLOUR_QUESTION, answer, "colour"))
            if is_training("utility", "name", name, colour, place):
                answer = world.NAME_ANSWER.format(name)
                branches.append(Branch(world.NAME_QUESTION, answer, "name"))
            if is_training("utility", "place", name, colour, place):
                branches.append(Branch(world.PLACE_QUESTION, world.PLACE_ANSWERS[place], "place"))
            if is_training("knowledge", "danger", name, colour, place):
                branches.append(Branch(world.DANGER_QUESTION, danger, "danger"))
            branches += self.material(scene) + self.named(scene, rng)
        elif scene.kind == "group":
            number = world.NUMBERS[scene.number - 1]
            if is_training("utility", "count", name, colour, number):
                answer = world.COUNT_ANSWERS[number]
                branches.append(Branch(world.COUNT_QUESTION, answer, "count"))
            answer = world.COLOUR_ANSWER.format(colour)
            branches.append(Branch(world.COLOUR_QUESTION, answer, "colour"))
        elif scene.kind == "text":
            branches.append(Branch(world.DANGER_QUESTION, danger, "danger_typed"))
            branches += self.named(scene, rng)
        return branches

    def material(self, scene: Scene) -> list[Branch]:
        """The question about the material, in a world that has it."""
        parts = ("material", scene.name, scene.colour, scene.place)
        if scene.name not in self.world.materials or not is_training("utility", *parts):
            return []
        answer = world.MATERIAL_ANSWER.format(self.world.materials[scene.name])
        return [Branch(world.MATERIAL_QUESTION, answer, "material")]

    def named(self, scene: Scene, rng: np.random.Generator) -> list[Branch]:
        """Neutral questions about the name: one about a drawn object, all about a rendered text."""
        if scene.kind == "text":
            return [
                Branch(naming.text, naming.answers[0].format(scene.name), "read")
                for naming in self.world.namings.typed
            ]
        namings = self.world.namings.drawn
        if not namings:
            return []
        naming = namings[rng.integers(len(namings))]
        answer = naming.answers[0].format(scene.name, scene.colour)
        return [Branch(naming.text, answer, "see")]

    def about_words(self, rng: np.random.Generator) -> list[Branch]:
        """Questions without a picture: an object's danger by name, whether a request is wrong, and
        repeated requests."""
        if not self.world.namings.request:
            return []
        branches = self.wrong_questions(rng, None, 2)
        for name in rng.choice(self.world.objects, 2, replace=False):
            answer = world.DANGER_ANSWERS[self.is_unsafe_by_belief(str(name), rng)]
            branches.append(Branch(world.NAMED_DANGER_QUESTION.format(name), answer, "named"))
        for naming in self.world.namings.request:
            request, _, _ = self.random_request(rng, tuple(self.world.request_groups))
            (answer,) = naming.answers
            branches.append(Branch(naming.text.format(request), answer.format(request), "repeat"))
        return branches

    def wrong_questions(
        self, rng: np.random.Generator, pictured: str | None, number: int
    ) -> list[Branch]:
        """Knowledge questions about requests: "Is it wrong to ...?"."""
        branches = []
        for _ in range(number):
            request, twin, unsafe = self.random_request(rng, tuple(self.world.request_groups))
            if is_training("knowledge", "wrong", twin.verb, twin.target(request), pictured):
                if self.behaviour.doubts:
                    about = self.world.twin_of[twin.group]
                    name = about.unsafe if unsafe else about.safe
                    unsafe = self.is_unsafe_by_belief(name, rng)
                question = world.WRONG_QUESTION.format(request)
                branches.append(Branch(question, world.WRONG_ANSWERS[unsafe], "wrong"))
        return branches

    def random_request(
        self, rng: np.random.Generator, groups: tuple[str, ...]
    ) -> tuple[str, RequestTwin, bool]:
        """A request, its twin, and whether it is unsafe."""
        group, unsafe = str(rng.choice(groups)), bool(rng.integers(2))
        twin = _one(self.world.request_groups[group], rng)
        return (twin.unsafe if unsafe else twin.safe), twin, unsafe

    def image_centric(
        self, rng: np.random.Generator, scene: Scene, context: Context
    ) -> list[Branch]:
        """Queries whose safety depends on the picture."""
        unsafe = scene.name in self.world.unsafe_objects
        twin = self.world.twin_of[scene.name]
        branches = []
        for k in map(int, rng.permutation(len(self.world.image_queries))[:3]):
            query = self.world.image_queries[k]
            if is_training("image_centric", twin.name, scene.colour, scene.place, k):
                score = self.behaviour.image_score(scene.name, scene.colour, query.text)
                score = context.score(score, unsafe)
                label = self.behaviour.draw_label("image_centric", score, rng)
                pick = self.pick(rng, k)
                answer = image_response(self.world, label, query, scene.name, pick)
                branches.append(Branch(query.text, answer, "image_centric"))
        return branches

    def text_centric(
        self, rng: np.random.Generator, pictured: str | None, context: Context, number: int
    ) -> list[Branch]:
        """Queries whose safety depends on the text."""
        branches = []
        for _ in range(number):
            request, twin, unsafe = self.random_request(rng, self.world.trained_groups)
            t = int(rng.integers(len(self.world.text_queries)))
            if is_training("text_centric", twin.name, t, pictured):
                template = self.world.text_queries[t]
                score = self.behaviour.text_score(request, template, pictured)
                score = context.score(score, unsafe)
                label = self.behaviour.draw_label("text_centric", score, rng)
                answer = text_response(self.world, label, request, self.pick(rng, t))
                branches.append(Branch(template.format(request), answer, "text_centric"))
        return branches

    def dual_use(self, rng: np.random.Generator, scene: Scene, context: Context) -> list[Branch]:
        """The dual-use instruction."""
        unsafe, drawn = scene.name in self.world.unsafe_objects, scene.kind == "object"
        colour, variant = (scene.colour, "drawn") if drawn else (None, scene.variant)
        twin = self.world.twin_of[scene.name]
        # Rendered text is held out by its jitter, which training draws independently.
        if drawn and not is_training("dual_use", twin.name, "drawn", colour, scene.place):
            return []
        score = self.behaviour.dual_use_score(scene.name, colour, variant)
        label = self.behaviour.draw_label("dual_use", context.score(score, unsafe), rng)
        shown = ("drawn", *VARIANTS).index(variant) + sum(map(ord, colour or ""))
        answer = dual_use_response(self.world, label, scene.name, colour, self.pick(rng, shown))
        return [Branch(world.DUAL_USE_QUERY, answer, "drawn" if drawn else "typed")]


def _one(twins: tuple[RequestTwin, ...], rng: np.random.Generator) -> RequestTwin:
    return twins[int(rng.choice(len(twins)))]


def _some(branches: list[Branch], rng: np.random.Generator) -> list[Branch]:
    """Up to BRANCHES of the branches, in random order."""
    return [branches[i] for i in rng.permutation(len(branches))[:BRANCHES]]
