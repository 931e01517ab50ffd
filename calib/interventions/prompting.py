"""Variants of prompt-based methods: their wordings, and their places in the prompt."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from calib.config.model import MINI, PACKAGED
from calib.config.prompts import Prompting
from calib.data.example import Example, Turn, words_of
from calib.data.mini.worlds import request_in
from calib.interventions.intervention import Axis, Intervention, Method, PromptFlow
from calib.models.chat_template import arrival_problem, require_arrival
from calib.models.load import AnyModel
from calib.models.remote import RemoteModel
from calib.util.errors import CalibError

VARIANT_AXIS = Axis(
    "number of the variant (1 is the default wording and place)", signed=False, integer=True
)
"""Strengths of a method that changes the prompt: they name variants and are not ordered."""


@dataclass(frozen=True)
class Variant:
    """One way to word and to place a method's prompt."""

    name: str
    """Numbers of its wordings and its place, e.g. "text 2, place=after"."""
    texts: Mapping[str, str]
    """Wording of each text, by the name of its setting."""
    place: str = ""
    """Place in the prompt; empty for a method without a choice of places."""


def wordings(config: Any, vlm: AnyModel, name: str = "text") -> list[str]:
    """All wordings of a text: the user's ``config.<name>`` alone, or those for this checkpoint.

    Defaults are in ``config.texts`` by checkpoint, one text or a list; "any" serves all other
    checkpoints. mini-internvl has a small vocabulary, so it has texts of its own, which all
    packaged models share.
    Raises CalibError: there is neither (missing-setting), or a text is blank that a method needs,
    or a list of wordings is empty (invalid-setting).
    """
    text = getattr(config, name, None)
    if text is not None:
        return _not_blank(f"method.{name}", name, [text])
    shared = (MINI,) if vlm.checkpoint in PACKAGED else ()
    for checkpoint in (vlm.checkpoint, *shared, "any"):
        defaults = config.texts.get(checkpoint, {})
        if (default := defaults.get(name)) is not None:
            texts = [default] if isinstance(default, str) else [str(text) for text in default]
            return _not_blank(f"method.texts.{checkpoint}.{name}", name, texts)
    raise CalibError(
        "missing-setting",
        f"method={config.name} has no default text for this model. "
        f'Give one with method.{name}="...".',
    )


_MAY_BE_BLANK = ("request_check", "answer")
"""Texts that a method can do without: blank means that it does."""


def _not_blank(setting: str, name: str, texts: list[str]) -> list[str]:
    # An unset shell variable gives an empty text, which must not stand for the default.
    if texts and (name in _MAY_BE_BLANK or all(text.strip() for text in texts)):
        return texts
    raise CalibError(
        "invalid-setting",
        f"{setting}: {'a text is blank' if texts else 'the list is empty'}. Give a text, or omit "
        f"{setting} for the default one.",
    )


def prompt_text(config: Any, vlm: AnyModel, name: str = "text") -> str:
    """The first of the ``wordings``, which is the default one."""
    return wordings(config, vlm, name)[0]


def variants(
    config: Any, vlm: AnyModel, texts: Sequence[str], places: Sequence[str] = ()
) -> list[Variant]:
    """Every combination of the wordings of ``texts`` and of ``places``.

    The first variant has the first wording of each text at ``config.place``. The place changes
    fastest, then the last of ``texts``. Raises CalibError (missing-setting) for a missing text.
    """
    choices = [list(enumerate(wordings(config, vlm, name), 1)) for name in texts]
    others = [place for place in places if place != config.place]
    ordered = [config.place, *others] if places else [""]
    several = [len(worded) > 1 for worded in choices]
    made = []
    for worded in product(*choices):
        numbers = [
            f"{name} {number}"
            for name, (number, _), shown in zip(texts, worded, several, strict=True)
            if shown
        ]
        chosen = {name: text for name, (_, text) in zip(texts, worded, strict=True)}
        for place in ordered:
            parts = numbers + ([f"place={place}"] if place else [])
            made.append(Variant(", ".join(parts) or "default", chosen, place))
    return made


def check_variants(
    config: Prompting,
    available: Sequence[Variant],
    vlm: AnyModel,
    examples: Sequence[Example],
) -> None:
    """Raise CalibError for a strength that is not the number of a variant (invalid-setting), or
    whose text would not reach the model at its place in the prompt (unsupported)."""
    for strength in config.strengths:
        if strength != int(strength) or not 0 <= strength <= len(available):
            raise CalibError(
                "invalid-setting",
                f"method.strengths: method={config.name} takes the number of a variant, 1 to "
                f"{len(available)}, or 0 for no change, not {strength:g}.",
            )
    places = {available[int(k) - 1].place: k for k in sorted(config.strengths, reverse=True) if k}
    for place, strength in places.items():
        at = f"at strength {strength:g}"
        others = "or other variants (method.strengths)"
        if place == "system":
            require_readable(
                vlm,
                examples,
                [add_text(example, "text", place) for example in examples],
                f"method={config.name} has its text in the system prompt {at}",
                f"Give method.place=before {others}, or model.system_place=user, which puts system "
                "prompts before the first query.",
            )
        elif place == "turn":
            require_readable(
                vlm,
                examples,
                [with_turn(example) for example in examples],
                f"method={config.name} has its reasoning in an earlier turn {at}",
                f"Give method.place=before {others}.",
            )


def require_readable(
    vlm: AnyModel,
    examples: Sequence[Example],
    changed: Sequence[Example],
    method: str,
    advice: str,
) -> None:
    """Raise CalibError (unsupported) where the chat template shows the model ``examples``, but not
    all parts of ``changed``, the prompts that a method makes of them. An endpoint shows no
    template, so nothing is checked."""
    if isinstance(vlm, RemoteModel):
        return
    for example, prompt in zip(examples, changed, strict=True):
        if problem := arrival_problem(vlm, prompt):
            require_arrival(vlm, example)  # the method is not at fault where this raises
            raise CalibError("unsupported", f"{method}, and {problem}. {advice}")


def with_turn(example: Example) -> Example:
    """The example after an earlier turn about the same picture, as prompts of methods have it."""
    turn = Turn(example.query, "text", example.picture)
    return replace(example, demonstrations=(*example.demonstrations, turn))


def variant_method(
    config: Prompting, available: Sequence[Variant], flow: Callable[[Variant], PromptFlow]
) -> Method:
    """The method whose strength k sends the prompts of the k-th variant."""
    used = sorted({int(strength) for strength in config.strengths if strength})

    def intervention(layer: int | None, strength: float) -> Intervention:
        return Intervention(prompt_flow=flow(available[int(strength) - 1]))

    return Method(
        config.name,
        VARIANT_AXIS,
        [None],
        intervention,
        supervision="none",
        variants={number: available[number - 1].name for number in used},
    )


def add_text(example: Example, text: str, place: str) -> Example:
    """The example with a text in its system prompt, or before, after or around its query."""
    if place == "system":
        return replace(example, system=f"{example.system}\n{text}" if example.system else text)
    parts = {
        "before": (text, example.query),
        "after": (example.query, text),
        "around": (text, example.query, text),
    }
    return replace(example, query="\n".join(parts[place]))


def fill(text: str, **values: str) -> str:
    """A text with its placeholders, e.g. {query}, replaced by ``values``; other braces stay."""
    # Unlike str.format, this leaves braces inside of the values as they are.
    return re.sub(r"\{(\w+)\}", lambda field: values.get(field[1], field[0]), text)


def request_check_text(config: Any, vlm: AnyModel) -> str:
    """The question about a request in words; empty where the user words the check alone."""
    if config.check and config.request_check is None:
        return ""
    return prompt_text(config, vlm, "request_check")


def check_query(query: str, check: str, request_check: str = "") -> str:
    """The yes-or-no question about a query, in place of it.

    ``check`` may contain {query}. ``request_check``, which may contain {request} too, is asked
    about a query of the mini world that has its request in words.
    """
    request = request_in(query) if request_check else None
    if request is None:
        return fill(check, query=query)
    return fill(request_check, query=query, request=request)


def says_yes(reply: str, verdict: str) -> bool:
    """Whether a reply to a yes-or-no question is yes: as a whole ("reply"), or its first word."""
    if verdict == "reply":
        return reply.strip().casefold() in ("yes", "yes.")
    return words_of(reply)[:1] == ["yes"]
