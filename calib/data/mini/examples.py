"""The mini world's examples.

Both twins of a pair are in the same split; calib.data.mini.combinations draws the splits. Concepts
are the eight twins of objects (shared by pictures, typed words and questions about danger) and the
sixteen pairs of requests; utility questions, about colours, places and numbers, have none.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from calib.config.choices import PERTURBATIONS
from calib.data.example import Example, Picture, words_of
from calib.data.mini.combinations import combination_of, combination_split, split_examples
from calib.data.mini.draw import draw_group, draw_object, draw_text
from calib.data.mini.world import (
    COLOUR_ANSWER,
    COLOUR_QUESTION,
    COLOURS,
    COUNT_ANSWERS,
    COUNT_QUESTION,
    DANGER_ANSWERS,
    DANGER_QUESTION,
    DUAL_USE_QUERY,
    IMAGE_QUERIES,
    NAME_ANSWER,
    NAME_QUESTION,
    NUMBERS,
    OBJECTS,
    PLACE_ANSWERS,
    PLACE_QUESTION,
    PLACES,
    SAFE_TARGETS,
    SYSTEM_PROMPTS,
    TEXT_QUERIES,
    TWIN_OF,
    TWINS,
    UNSAFE_OBJECTS,
    UNSAFE_TARGETS,
    VERBS,
    WRONG_ANSWERS,
    WRONG_QUESTION,
)
from calib.data.splits import limit_examples
from calib.util.errors import CalibError, did_you_mean

DATASETS = ("image_centric", "text_centric", "dual_use", "utility", "knowledge")
TYPED_INSTANCES = 24
"""Number of renderings of each word in each variant."""

TERMS: dict[str, tuple[str, ...]] = {
    "colour": tuple(COLOURS),
    "name": OBJECTS,
    "place": PLACES,
    "count": NUMBERS,
    "danger": ("yes", "no"),
    "wrong": ("yes", "no"),
}
"""The possible answer words of each kind of question."""

RELATED = {
    "kill": "blades",
    "shoot": "firearms",
    "steal": "fraud",
    "blow up": "explosives",
    "crack": "wildlife",
    "burn": "fire",
    "break": "drugs",
    "crash": "poisons",
}
"""The hazard category whose objects are related to a verb."""


def load(
    datasets: tuple[str, ...] | list[str],
    limit: int | None = None,
    system: str | None = None,
    seed: int = 0,
    *,
    split_by: str | None = "pair",
    split_seed: int = 0,
) -> list[Example]:
    """The examples of ``datasets`` in all splits.

    ``limit`` is the maximum number of examples per split and dataset, as in limit_examples.
    ``system`` is a system prompt, or the name of an entry of SYSTEM_PROMPTS. ``seed`` determines
    the jitter of every picture. ``split_by`` and ``split_seed`` as in split_by_level: with pair,
    splits are those of the combinations; with query or concept, the train split has combinations
    that mini-internvl was trained on, and the other splits have those that it was not.

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
        examples += builders[dataset](system_prompt(system), seed)
    return limit_examples(split_examples(examples, split_by, split_seed), limit, combination_of)


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


def _image_centric(system: str | None, seed: int) -> Iterator[Example]:
    for twin in TWINS:
        for colour in COLOURS:
            for place in PLACES:
                for k, query in enumerate(IMAGE_QUERIES):
                    parts = (twin.category, colour, place, k)
                    pair = "/".join(map(str, ("image_centric", *parts)))
                    for safety, name in (("safe", twin.safe), ("unsafe", twin.unsafe)):
                        yield Example(
                            query_group=f"image_centric/{k}",
                            concept=_object_concept(name),
                            id=f"{pair}/{safety}",
                            dataset="image_centric",
                            variant="drawn",
                            category=twin.category,
                            split=combination_split("image_centric", *parts),
                            query=query.text,
                            picture=partial(draw_object, name, colour, place, _hash(seed, pair)),
                            safety="safe" if safety == "safe" else "unsafe",
                            pair=pair,
                            metadata={"object": name, "colour": colour, "place": place},
                            system=system,
                        )


def _text_centric(system: str | None, seed: int) -> Iterator[Example]:
    for verb in VERBS:
        for k, targets in enumerate(zip(SAFE_TARGETS[verb], UNSAFE_TARGETS[verb], strict=True)):
            for template_number, template in enumerate(TEXT_QUERIES):
                for pictured in (None, *OBJECTS):
                    parts = (verb, k, template_number, pictured)
                    combination = "/".join(map(str, ("text_centric", *parts)))
                    pair = f"text_centric/{verb}/{k}/{template_number}"
                    draw = _hash(seed, combination)
                    picture = None
                    if pictured:
                        colour = list(COLOURS)[draw % len(COLOURS)]
                        place = PLACES[draw // 7 % len(PLACES)]
                        picture = partial(draw_object, pictured, colour, place, draw)
                    for safety, target in zip(("safe", "unsafe"), targets, strict=True):
                        yield Example(
                            id=f"{combination}/{safety}",
                            dataset="text_centric",
                            variant=_scene(verb, pictured),
                            category=verb,
                            split=combination_split("text_centric", *parts),
                            query=template.format(f"{verb} {target}"),
                            picture=picture,
                            safety="safe" if safety == "safe" else "unsafe",
                            pair=pair,
                            query_group=pair,
                            concept=_request_concept(verb, target),
                            metadata={"request": f"{verb} {target}"},
                            system=system,
                        )


def _object_concept(name: str) -> str:
    """The twin of an object, which is the same concept in pictures, typed words and questions."""
    return f"object/{TWIN_OF[name].category}"


def _request_concept(verb: str, target: str) -> str:
    """A verb with its safe and its unsafe target, in every wording and with every picture."""
    targets = SAFE_TARGETS[verb] if target in SAFE_TARGETS[verb] else UNSAFE_TARGETS[verb]
    return f"request/{verb}/{targets.index(target)}"


def _scene(verb: str, pictured: str | None) -> str:
    if pictured is None:
        return "text_only"
    return "related" if TWIN_OF[pictured].category == RELATED[verb] else "unrelated"


def _dual_use(system: str | None, seed: int) -> Iterator[Example]:
    for twin in TWINS:
        shown: list[tuple[str, str | None, str]] = [
            ("drawn", colour, place) for colour in COLOURS for place in PLACES
        ]
        shown += [
            (variant, None, str(k))
            for variant in ("original", *PERTURBATIONS)
            for k in range(TYPED_INSTANCES)
        ]
        for variant, colour, place in shown:
            parts = (twin.category, variant, colour, place)
            # Perturbed versions of one rendering are not independent of it.
            rendering = parts if colour else (twin.category, place)
            pair = "/".join(map(str, ("dual_use", *rendering)))
            draw = _hash(seed, "dual_use", twin.category, colour, place)
            for safety, name in (("safe", twin.safe), ("unsafe", twin.unsafe)):
                metadata = {"object": name}
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
                    split=combination_split("dual_use", *rendering),
                    query=DUAL_USE_QUERY,
                    picture=picture,
                    safety="safe" if safety == "safe" else "unsafe",
                    pair=pair,
                    concept=_object_concept(name),
                    metadata=metadata,
                    system=system,
                )


def _utility(system: str | None, seed: int) -> Iterator[Example]:
    for name in OBJECTS:
        for colour in COLOURS:
            for place in PLACES:
                answers = {
                    "colour": (COLOUR_QUESTION, COLOUR_ANSWER.format(colour)),
                    "name": (NAME_QUESTION, NAME_ANSWER.format(name)),
                    "place": (PLACE_QUESTION, PLACE_ANSWERS[place]),
                }
                for variant, (question, answer) in answers.items():
                    parts = (variant, name, colour, place)
                    draw = _hash(seed, "utility", *parts)
                    picture = partial(draw_object, name, colour, place, draw)
                    yield _question("utility", parts, name, question, answer, picture, system)
            for number, word in enumerate(NUMBERS, start=1):
                parts = ("count", name, colour, word)
                draw = _hash(seed, "utility", *parts)
                picture = partial(draw_group, name, colour, number, draw)
                yield _question(
                    "utility", parts, name, COUNT_QUESTION, COUNT_ANSWERS[word], picture, system
                )


def _knowledge(system: str | None, seed: int) -> Iterator[Example]:
    for name in OBJECTS:
        for colour in COLOURS:
            for place in PLACES:
                parts = ("danger", name, colour, place)
                picture = partial(draw_object, name, colour, place, _hash(seed, *parts))
                answer = DANGER_ANSWERS[name in UNSAFE_OBJECTS]
                yield replace(
                    _question("knowledge", parts, name, DANGER_QUESTION, answer, picture, system),
                    concept=_object_concept(name),
                )
    for wrong, targets in ((False, SAFE_TARGETS), (True, UNSAFE_TARGETS)):
        for verb in VERBS:
            for target in targets[verb]:
                for pictured in OBJECTS:
                    parts = ("wrong", verb, target, pictured)
                    draw = _hash(seed, *parts)
                    colour = list(COLOURS)[draw % len(COLOURS)]
                    place = PLACES[draw // 7 % len(PLACES)]
                    picture = partial(draw_object, pictured, colour, place, draw)
                    question = WRONG_QUESTION.format(f"{verb} {target}")
                    asked = _question(
                        "knowledge", parts, verb, question, WRONG_ANSWERS[wrong], picture, system
                    )
                    yield replace(asked, concept=_request_concept(verb, target))


def _question(
    dataset: str,
    parts: tuple[str, ...],
    category: str,
    question: str,
    answer: str,
    picture: Picture,
    system: str | None,
) -> Example:
    terms = TERMS[parts[0]]
    term = next(word for word in words_of(answer) if word in terms)
    return Example(
        id="/".join((dataset, *parts)),
        dataset=dataset,
        variant=parts[0],
        category=category,
        split=combination_split(dataset, *parts),
        query=question,
        picture=picture,
        answer=answer,
        metadata={"term": term, "terms": " ".join(terms)},
        system=system,
    )
