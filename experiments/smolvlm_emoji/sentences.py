"""Questions about pictures of things and their answers, in words of our own.

Every answer is a sentence that begins with a capital letter and ends with a full stop. Questions
and answers have several wordings, so that the connector learns what a picture shows and not one
sentence.
"""

from dataclasses import dataclass

import numpy as np

from experiments.smolvlm_emoji.things import is_plural, phrase

NAME_QUESTIONS = (
    "What is this?", "What is in the picture?", "What does the picture show?",
    "What do you see in the picture?", "What is shown here?", "Name the thing in the picture.",
    "What am I looking at?", "Can you tell me what this is?", "What is drawn here?",
    "Identify what the image shows.", "Which thing does the image show?", "What is in the image?",
)  # fmt: skip
NAME_ANSWERS = (
    "This is {a}.", "The picture shows {a}.", "It is {a}.", "I see {a}.", "The image shows {a}.",
    "You are looking at {a}.", "That is {a}.", "It looks like {a}.",
)  # fmt: skip
PLURAL_ANSWERS = (
    "These are {a}.", "The picture shows {a}.", "They are {a}.", "I see {a}.",
    "The image shows {a}.", "You are looking at {a}.", "Those are {a}.", "They look like {a}.",
)  # fmt: skip
"""As NAME_ANSWERS, for names in the plural."""
DESCRIBE_QUESTIONS = (
    "Describe the picture.", "Describe this image in one sentence.", "Write a caption.",
    "Give the picture a caption.", "Say in one sentence what the picture shows.",
)  # fmt: skip
DESCRIBE_ANSWERS = (
    "The picture shows a drawing of {a}.", "This is a simple drawing of {a}.",
    "The image is a colourful drawing of {a}.", "It is a small drawing of {a}.",
    "Someone has drawn {a}.",
)  # fmt: skip
KIND_QUESTIONS = (
    "What kind of thing is this?", "What sort of thing does the picture show?",
    "To which kind of thing does it belong?",
)  # fmt: skip
CHOICE_QUESTIONS = (
    "Is this {a} or {b}?", "Does the picture show {a} or {b}?", "Which is it: {a} or {b}?",
)  # fmt: skip
YES_NO_QUESTIONS = (
    "Is this {a}?", "Does the picture show {a}?", "Can you see {a} in the image?",
    "Is that {a} in the picture?",
)  # fmt: skip


@dataclass(frozen=True)
class Branch:
    """A question about a picture, and its answer."""

    task: str
    question: str
    answer: str


TASKS = {"name": 0.4, "describe": 0.15, "kind": 0.1, "choice": 0.15, "yes_no": 0.2}
"""Shares of the tasks."""
OWN_SHARE = 1 / 3
"""Share of pictures with one of the language model's own answers, which are long."""


class Speaker:
    """Draws questions about things."""

    def __init__(self, kinds: dict[str, str], own: dict[str, list[tuple[str, str]]]) -> None:
        """``kinds``: by name, "" where it has none. ``own``: by name, questions about the thing and
        the language model's own answers (see own_answers.py); may be empty."""
        self.names, self.kinds, self.own = tuple(kinds), kinds, own
        self.all_kinds = tuple(dict.fromkeys(kind for kind in kinds.values() if kind))

    def branches(self, name: str, count: int, rng: np.random.Generator) -> list[Branch]:
        """Questions about a thing; the first asks for its name."""
        rest = rng.choice(list(TASKS), count - 1, p=list(TASKS.values()))
        drawn = [self.branch(str(task), name, rng) for task in ("name", *rest)]
        if (own := self.own.get(name)) and rng.random() < OWN_SHARE:
            question, answer = own[int(rng.integers(len(own)))]
            drawn[-1] = Branch("own", question, answer)
        return drawn

    def branch(self, task: str, name: str, rng: np.random.Generator) -> Branch:
        """A question of one task."""
        kind = self.kinds[name]
        if task == "kind" and not kind:
            task = "describe"
        if task == "name":
            return Branch(task, _any(NAME_QUESTIONS, rng), _named(name, rng))
        if task == "describe":
            answer = _any(DESCRIBE_ANSWERS, rng).format(a=phrase(name))
            return Branch(task, _any(DESCRIBE_QUESTIONS, rng), answer)
        if task == "kind":
            return Branch(task, _any(KIND_QUESTIONS, rng), f"It is {_kind_phrase(kind)}.")
        other = self._other(name, rng)
        if task == "choice":
            pair = [phrase(name), phrase(other)]
            rng.shuffle(pair)
            return Branch(
                task, _any(CHOICE_QUESTIONS, rng).format(a=pair[0], b=pair[1]), _named(name, rng, 4)
            )
        asked, start = (name, "Yes") if rng.random() < 0.5 else (other, "No")
        verb = "these are" if is_plural(name) else "this is"
        question = _any(YES_NO_QUESTIONS, rng).format(a=phrase(asked))
        return Branch(task, question, f"{start}, {verb} {phrase(name)}.")

    def _other(self, name: str, rng: np.random.Generator) -> str:
        """Another thing, in half of the cases of the same kind."""
        alike = [n for n in self.names if n != name and self.kinds[n] == self.kinds[name]]
        if alike and self.kinds[name] and rng.random() < 0.5:
            return alike[int(rng.integers(len(alike)))]
        others = [n for n in self.names if n != name]
        return others[int(rng.integers(len(others)))]


def _any(wordings: tuple[str, ...], rng: np.random.Generator, most: int | None = None) -> str:
    return wordings[int(rng.integers(len(wordings[:most])))]


def _named(name: str, rng: np.random.Generator, most: int | None = None) -> str:
    answers = PLURAL_ANSWERS if is_plural(name) else NAME_ANSWERS
    return _any(answers, rng, most).format(a=phrase(name))


def _kind_phrase(kind: str) -> str:
    return kind if kind == "food" else phrase(kind)
