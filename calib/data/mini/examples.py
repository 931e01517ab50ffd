"""The mini world's examples, split by held-out combinations.

A combination is an example without its jitter: twin x colour x query x place in the image-centric
part, request x wording x pictured object in the text-centric part, and so on. The split of a
combination is fixed. mini-internvl was trained on queries of the train split only, and both twins
of a pair are in the same split. Two limitations: the vision tower was trained to classify pictures
of all objects, colours and places, and plain rendered text has so few distinct pictures (shifts by
a few pixels) that the training included those of the test split.
"""

import hashlib
from collections.abc import Iterator
from functools import partial

from calib.config.choices import PERTURBATIONS, Split
from calib.data.example import Example, Picture, words_of
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
from calib.data.splits import limit_examples, split_of
from calib.util.errors import CalibError, did_you_mean

TRAIN_SHARE, VALIDATION_SHARE = 0.6, 0.15
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


def combination_split(dataset: str, *parts: object) -> Split:
    """The split of a combination, for training data and examples alike."""
    return split_of("/".join([dataset, *map(str, parts)]), TRAIN_SHARE, VALIDATION_SHARE)


def load(
    datasets: tuple[str, ...] | list[str],
    limit: int | None = None,
    system: str | None = None,
    seed: int = 0,
) -> list[Example]:
    """The examples of ``datasets`` in all splits.

    ``limit`` is the maximum number of examples per split and dataset, as in limit_examples.
    ``system`` is a system prompt, or the name of an entry of SYSTEM_PROMPTS. ``seed`` determines
    the jitter of every picture.

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
    return limit_examples(examples, limit)


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
                    pair = "/".join(map(str, ("text_centric", *parts)))
                    draw = _hash(seed, pair)
                    picture = None
                    if pictured:
                        colour = list(COLOURS)[draw % len(COLOURS)]
                        place = PLACES[draw // 7 % len(PLACES)]
                        picture = partial(draw_object, pictured, colour, place, draw)
                    for safety, target in zip(("safe", "unsafe"), targets, strict=True):
                        yield Example(
                            id=f"{pair}/{safety}",
                            dataset="text_centric",
                            variant=_scene(verb, pictured),
                            category=verb,
                            split=combination_split("text_centric", *parts),
                            query=template.format(f"{verb} {target}"),
                            picture=picture,
                            safety="safe" if safety == "safe" else "unsafe",
                            pair=pair,
                            metadata={"request": f"{verb} {target}"},
                            system=system,
                        )


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
                yield _question("knowledge", parts, name, DANGER_QUESTION, answer, picture, system)
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
                    yield _question(
                        "knowledge", parts, verb, question, WRONG_ANSWERS[wrong], picture, system
                    )


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
