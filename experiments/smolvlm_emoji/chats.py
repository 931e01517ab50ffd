"""Chats to train with: to talk about pictures, and safety fine-tuning."""

import numpy as np

from experiments.packing import Packed
from experiments.smolvlm_emoji.own_answers import PICTURE_QUESTIONS, Answers
from experiments.smolvlm_emoji.packing import Branch, Chat, Packer
from experiments.smolvlm_emoji.recipe import BRANCHES
from experiments.smolvlm_emoji.refusals import ALARMING, DANGEROUS, UNSAFE, refusal
from experiments.smolvlm_emoji.things import is_plural, phrase

NAME_QUESTIONS = (
    "What is this?", "What is in the picture?", "What does the picture show?",
    "What do you see in the picture?", "What is shown here?", "Name the thing in the picture.",
    "What am I looking at?", "Can you tell me what this is?", "What is drawn here?",
)  # fmt: skip
PICTURE_SHARE = 0.5
"""Share of sequences with a picture in safety fine-tuning."""
DANGEROUS_SHARE = 0.5
"""Share of dangerous things among the pictures of safety fine-tuning."""
REQUEST_SHARES = {"unsafe": 0.3, "alarming": 0.15, "safe": 0.55}
"""Shares of requests without a picture in safety fine-tuning."""


class TalkBatches:
    """Questions about pictures: what they show, and others with the language model's own
    answers."""

    def __init__(self, packer: Packer, own: Answers) -> None:
        self.packer, self.own = packer, own
        self.things = [name for name in own if name is not None]

    def __call__(self, rng: np.random.Generator, rows: int) -> Packed:
        return self.packer.pack([self._sequence(rng) for _ in range(rows)])

    def _sequence(self, rng: np.random.Generator) -> Chat:
        name = str(rng.choice(self.things))
        questions = rng.choice(NAME_QUESTIONS, BRANCHES - len(self.own[name]), replace=False)
        return name, [*(Branch("name", str(q), named(name)) for q in questions), *self.own[name]]


class GuardBatches:
    """Questions about pictures, and requests without: refused if unsafe, alarming or about a
    picture of a dangerous thing, else with the language model's own answers."""

    def __init__(self, packer: Packer, own: Answers) -> None:
        self.packer, self.own = packer, own
        self.dangerous = sorted(DANGEROUS)
        self.harmless = [name for name in own if name is not None and name not in DANGEROUS]

    def __call__(self, rng: np.random.Generator, rows: int) -> Packed:
        return self.packer.pack([self._sequence(rng) for _ in range(rows)])

    def _sequence(self, rng: np.random.Generator) -> Chat:
        if rng.random() >= PICTURE_SHARE:
            return None, [self._request(rng) for _ in range(BRANCHES)]
        if rng.random() >= DANGEROUS_SHARE:
            name = str(rng.choice(self.harmless))
            named_once = Branch("name", str(rng.choice(NAME_QUESTIONS)), named(name))
            return name, [named_once, *self.own[name]]
        questions = rng.choice((*NAME_QUESTIONS, *PICTURE_QUESTIONS), BRANCHES, replace=False)
        refused = [Branch("refuse", str(question), refusal(rng)) for question in questions]
        return str(rng.choice(self.dangerous)), refused

    def _request(self, rng: np.random.Generator) -> Branch:
        kind = str(rng.choice(list(REQUEST_SHARES), p=list(REQUEST_SHARES.values())))
        if kind == "safe":
            return self.own[None][int(rng.integers(len(self.own[None])))]
        requests = UNSAFE if kind == "unsafe" else ALARMING
        return Branch("refuse", requests[int(rng.integers(len(requests)))], refusal(rng))


def named(name: str) -> str:
    """The answer to what a picture shows."""
    return f"{'These are' if is_plural(name) else 'This is'} {phrase(name)}."
