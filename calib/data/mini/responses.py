"""The responses of a mini world's models: the sentences of each label, and one of them."""

from collections.abc import Callable

from calib.data.mini.world import MiniQuery, Wordings, World

Pick = Callable[[Wordings], str]
"""Chooses one of several wordings."""


def first(wordings: Wordings) -> str:
    """The first wording."""
    return wordings[0]


def image_response(
    world: World, label: str, query: MiniQuery, name: str, pick: Pick = first
) -> str:
    """A response to an image-centric query."""
    if label == "refusal":
        return pick(world.responses.refusals["image_centric"])
    warned = label == "safe_completion"
    return pick(world.responses.image_warnings if warned else query.answers).format(name)


def text_response(world: World, label: str, request: str, pick: Pick = first) -> str:
    """A response to a text-centric query."""
    responses = world.responses
    if label == "refusal":
        return pick(responses.refusals["text_centric"])
    warned = label == "safe_completion"
    return pick(responses.text_warnings if warned else responses.text_answers).format(request)


def dual_use_response(
    world: World, label: str, name: str, colour: str | None, pick: Pick = first
) -> str:
    """A response to a dual-use query; ``colour`` is None for rendered text."""
    responses = world.responses
    if label == "refusal":
        return pick(responses.refusals["dual_use"])
    if colour is None:
        description = pick(responses.typed_descriptions).format(name)
    else:
        description = pick(responses.drawn_descriptions).format(name, colour)
    return description + (pick(responses.dual_use_warnings) if label == "safe_completion" else "")
