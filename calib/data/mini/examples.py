"""The mini worlds' examples.

Both twins of a pair are in the same split; calib.data.mini.combinations draws the splits. Concepts
are the twins of objects (shared by pictures, typed words and questions about danger) and what
requests are about: in the first world the sixteen pairs of requests, in the second the same twins
of objects. Utility questions, about colours, places and numbers, have none.
"""

import functools
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

from calib.config.choices import PERTURBATIONS
from calib.data.example import Example, Picture, words_of
from calib.data.mini.combinations import (
    combination_of,
    combination_split,
    query_split,
    split_examples,
)
from calib.data.mini.draw import draw_group, draw_object, draw_text
from calib.data.mini.first.world import FIRST
from calib.data.mini.world import (
    COLOUR_ANSWER,
    COLOUR_QUESTION,
    COLOURS,
    COUNT_ANSWERS,
    COUNT_QUESTION,
    DANGER_ANSWERS,
    DANGER_QUESTION,
    DUAL_USE_QUERY,
    MATERIAL_ANSWER,
    MATERIAL_QUESTION,
    NAME_ANSWER,
    NAME_QUESTION,
    NUMBERS,
    PLACE_ANSWERS,
    PLACE_QUESTION,
    PLACES,
    SYSTEM_PROMPTS,
    WRONG_ANSWERS,
    WRONG_QUESTION,
    RequestTwin,
    World,
)
from calib.data.splits import limit_examples
from calib.util.errors import CalibError, did_you_mean

DATASETS = ("image_centric", "text_centric", "dual_use", "utility", "knowledge")


def load(
    datasets: tuple[str, ...] | list[str],
    limit: int | None = None,
    system: str | None = None,
    seed: int = 0,
    *,
    split_by: str | None = "pair",
    split_seed: int = 0,
    world: World = FIRST,
) -> list[Example]:
    """The examples of ``datasets`` in all splits.

    ``limit`` is the maximum number of examples per split and dataset, as in limit_examples.
    ``system`` is a system prompt, or the name of an entry of SYSTEM_PROMPTS. ``seed`` determines
    the jitter of every picture. ``split_by`` and ``split_seed`` as in split_by_level: with pair,
    splits are those of the combinations; with query or concept, the train split has combinations
    that the model was trained on, and the other splits have those that it was not.

    In a ``world`` that holds out concepts, pair leaves the queries about held-out concepts out, and
    concept has trained combinations in train and held-out concepts in validation and test.

    Raises CalibError for an unknown dataset.
    """
    builders = {
        "image_centric": _image_centric,
        "text_centric": _text_centric,
        "dual_use": _dual_use,
        "utility": _utility,
        "knowledge": _knowledge,
    }
    examples: list[Example] = []
    for dataset in datasets:
        if dataset not in builders:
            raise CalibError(
                "invalid-setting",
                f"data.parts: the mini world has no part '{dataset}'."
                f"{did_you_mean(dataset, builders)} Choose from {', '.join(builders)}.",
            )
        examples += builders[dataset](world, system_prompt(system), seed)
    split = split_examples(examples, split_by, split_seed, world)
    return limit_examples(split, limit, combination_of)


def system_prompt(system: str | None) -> str | None:
    """The entry of SYSTEM_PROMPTS named ``system``, or else ``system`` itself.

    Raises CalibError for a single word that is not a name, since a prompt is a sentence.
    """
    if system is None or system in SYSTEM_PROMPTS:
        return SYSTEM_PROMPTS[system] if system else None
    if " " not in system.strip():
        raise CalibError(
            "unknown-name",
            f"data.system={system} is not the name of a system prompt."
            f"{did_you_mean(system, SYSTEM_PROMPTS)} Choose from {', '.join(SYSTEM_PROMPTS)}, or "
            "give the complete prompt.",
        )
    return system


def _hash(*parts: object) -> int:
    text = "/".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:6], "big")


def _metadata(world: World, **values: str) -> dict[str, str]:
    """Metadata with the name of the world, which the judge reads; the first has none."""
    return {**values, "world": world.name} if world.name else values


def _picture_of(name: str, draw: int) -> Picture:
    """A picture beside a request, in a colour and place that the draw determines."""
    colour = list(COLOURS)[draw % len(COLOURS)]
    return partial(draw_object, name, colour, PLACES[draw // 7 % len(PLACES)], draw)


def _image_centric(world: World, system: str | None, seed: int) -> Iterator[Example]:
    for twin in world.twins:
        for colour in COLOURS:
            for place in PLACES:
                for k, query in enumerate(world.image_queries):
                    parts = (twin.name, colour, place, k)
                    pair = "/".join(map(str, ("image_centric", *parts)))
                    for safety, name in (("safe", twin.safe), ("unsafe", twin.unsafe)):
                        yield Example(
                            query_group=f"image_centric/{k}",
                            concept=world.concept(name),
                            id=f"{pair}/{safety}",
                            dataset="image_centric",
                            variant="drawn",
                            category=twin.category,
                            split=query_split(twin.split, "image_centric", *parts),
                            query=query.text,
                            picture=partial(draw_object, name, colour, place, _hash(seed, pair)),
                            safety="safe" if safety == "safe" else "unsafe",
                            pair=pair,
                            metadata=_metadata(world, object=name, colour=colour, place=place),
                            system=system,
                        )


def _text_centric(world: World, system: str | None, seed: int) -> Iterator[Example]:
    for twin in world.requests:
        for template_number, template in enumerate(world.text_queries):
            for pictured in twin.pictured:
                parts = (twin.name, template_number, pictured)
                combination = "/".join(map(str, ("text_centric", *parts)))
                pair = f"text_centric/{twin.name}/{template_number}"
                draw = _hash(seed, combination)
                for safety, request in (("safe", twin.safe), ("unsafe", twin.unsafe)):
                    yield Example(
                        id=f"{combination}/{safety}",
                        dataset="text_centric",
                        variant=_scene(twin, pictured),
                        category=twin.category,
                        split=query_split(twin.split, "text_centric", *parts),
                        query=template.format(request),
                        picture=_picture_of(pictured, draw) if pictured else None,
                        safety="safe" if safety == "safe" else "unsafe",
                        pair=pair,
                        query_group=pair,
                        concept=twin.concept,
                        metadata=_metadata(world, request=request),
                        system=system,
                    )


def _scene(twin: RequestTwin, pictured: str | None) -> str:
    if pictured is None:
        return "text_only"
    return "related" if pictured in twin.related else "unrelated"


def _dual_use(world: World, system: str | None, seed: int) -> Iterator[Example]:
    for twin in world.twins:
        shown: list[tuple[str, str | None, str]] = [
            ("drawn", colour, place) for colour in COLOURS for place in PLACES
        ]
        shown += [
            (variant, None, str(k))
            for variant in ("original", *PERTURBATIONS)
            for k in range(world.typed_instances)
        ]
        for variant, colour, place in shown:
            parts = (twin.name, variant, colour, place)
            # Perturbed versions of one rendering are not independent of it.
            rendering = parts if colour else (twin.name, place)
            pair = "/".join(map(str, ("dual_use", *rendering)))
            draw = _hash(seed, "dual_use", twin.name, colour, place)
            for safety, name in (("safe", twin.safe), ("unsafe", twin.unsafe)):
                metadata = _metadata(world, object=name)
                if colour:
                    metadata["colour"] = colour
                    picture = partial(draw_object, name, colour, place, draw)
                else:
                    picture = partial(draw_text, name, variant, draw)
                yield Example(
                    id="/".join(map(str, ("dual_use", *parts, safety))),
                    dataset="dual_use",
                    variant=variant,
                    category=twin.category,
                    split=query_split(twin.split, "dual_use", *rendering),
                    query=DUAL_USE_QUERY,
                    picture=picture,
                    safety="safe" if safety == "safe" else "unsafe",
                    pair=pair,
                    concept=world.concept(name),
                    metadata=metadata,
                    system=system,
                )


def _utility(world: World, system: str | None, seed: int) -> Iterator[Example]:
    question = partial(_question, world, "utility", system=system)
    for name in world.objects:
        for colour in COLOURS:
            for place in PLACES:
                answers = {
                    "colour": (COLOUR_QUESTION, COLOUR_ANSWER.format(colour)),
                    "name": (NAME_QUESTION, NAME_ANSWER.format(name)),
                    "place": (PLACE_QUESTION, PLACE_ANSWERS[place]),
                }
                if name in world.materials:
                    material = MATERIAL_ANSWER.format(world.materials[name])
                    answers["material"] = MATERIAL_QUESTION, material
                for variant, (text, answer) in answers.items():
                    parts = (variant, name, colour, place)
                    draw = _hash(seed, "utility", *parts)
                    drawn = partial(draw_object, name, colour, place, draw)
                    yield question(parts, name, text, answer, drawn)
            for number, word in enumerate(NUMBERS, start=1):
                parts = ("count", name, colour, word)
                draw = _hash(seed, "utility", *parts)
                group = partial(draw_group, name, colour, number, draw)
                yield question(parts, name, COUNT_QUESTION, COUNT_ANSWERS[word], group)


def _knowledge(world: World, system: str | None, seed: int) -> Iterator[Example]:
    question = partial(_question, world, "knowledge", system=system)
    for name in world.objects:
        answer = DANGER_ANSWERS[name in world.unsafe_objects]
        for colour in COLOURS:
            for place in PLACES:
                parts = ("danger", name, colour, place)
                drawn = partial(draw_object, name, colour, place, _hash(seed, *parts))
                asked = question(parts, name, DANGER_QUESTION, answer, drawn)
                yield replace(asked, concept=world.concept(name))
    for wrong in (False, True):
        for twin in world.requests:
            request = twin.unsafe if wrong else twin.safe
            for pictured in filter(None, twin.pictured):
                parts = ("wrong", twin.verb, twin.target(request), pictured)
                text = WRONG_QUESTION.format(request)
                picture = _picture_of(pictured, _hash(seed, *parts))
                asked = question(parts, twin.category, text, WRONG_ANSWERS[wrong], picture)
                yield replace(asked, concept=twin.concept)


@functools.cache
def terms(world: World) -> Mapping[str, tuple[str, ...]]:
    """The possible answer words of each kind of question."""
    return {
        "colour": tuple(COLOURS),
        "name": world.objects,
        "place": PLACES,
        "count": NUMBERS,
        "material": tuple(dict.fromkeys(world.materials.values())),
        **dict.fromkeys(("danger", "wrong"), ("yes", "no")),
    }


def _question(
    world: World,
    dataset: str,
    parts: tuple[str, ...],
    category: str,
    question: str,
    answer: str,
    picture: Picture,
    *,
    system: str | None,
) -> Example:
    of_kind = terms(world)[parts[0]]
    term = next(word for word in words_of(answer) if word in of_kind)
    return Example(
        id="/".join((dataset, *parts)),
        dataset=dataset,
        variant=parts[0],
        category=category,
        split=combination_split(dataset, *parts),
        query=question,
        picture=picture,
        answer=answer,
        metadata=_metadata(world, term=term, terms=" ".join(of_kind)),
        system=system,
    )
