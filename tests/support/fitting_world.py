"""A small set of examples to fit methods to, with the engine and a reference by hand."""

import hashlib
from dataclasses import dataclass

import pytest
from by_hand import PlainModel

from calib.data.example import Example
from calib.data.mini.examples import load
from calib.engine.engine import Engine
from calib.engine.request import Decoding
from calib.interventions.contrasts import JudgedAnswer
from calib.interventions.fitting import Fitting
from calib.models.load import VLM

WORDS = ("knife", "ball", "juice", "spoon", "poison", "bag", "market", "nothing")


def byte_of(text: str) -> int:
    return hashlib.sha256(text.encode()).digest()[0]


def refused(example) -> bool | None:
    """Whether the fake answer refuses: pseudo-random, so that every contrast has both sides."""
    return (None, True, True, False, False)[byte_of(example.id) % 5]


def label(example) -> str:
    """The fake label: half of what does not answer are safe completions."""
    safely = "safe_completion" if byte_of(example.query + example.id) % 2 else "refusal"
    return {True: safely, False: "answer", None: "irrelevant"}[refused(example)]


def answers(examples, purpose, judged=True):
    """Fake answers of the uncalibrated model."""
    leads = {True: "I'm sorry, I can't", False: "You can get", None: "Be careful with"}
    answered = []
    for example in examples:
        text = f"{leads[refused(example)]} the {WORDS[byte_of(example.id + example.query) % 8]}."
        if judged and refused(example) and example.dataset == "text_centric":
            text = "I'm sorry, no."  # some queries then have fewer distinct responses
        answered.append(JudgedAnswer(text, refused(example), label(example)))
        if not judged:
            answered[-1] = JudgedAnswer(text, None)
    return answered


@dataclass(frozen=True)
class World:
    vlm: VLM
    examples: list[Example]
    fitting: Fitting
    engine: Engine
    plain: PlainModel

    def twins(self, safety, split="train", refused_ones=None):
        """Twins of one safety in the order of pairs; all, or only refused or answered ones."""
        examples = [e for e in self.examples if (e.safety, e.split) == (safety, split)]
        if refused_ones is not None:
            examples = [e for e in examples if refused(e) == refused_ones]
        return sorted(examples, key=lambda e: e.pair)

    def means(self, layer, site="residual"):
        """Mean activations of unsafe and of safe train queries. # [width] twice"""
        sides = (self.twins(safety) for safety in ("unsafe", "safe"))
        return [self.plain.last(side, layer, site).mean(0) for side in sides]

    def refusal(self, layer):
        """Mean activation of refused minus that of answered train queries. # [width]"""
        sides = [self.twins("unsafe", "train", r) + self.twins("safe", "train", r) for r in (1, 0)]
        refused_mean, answered = (self.plain.last(side, layer).mean(0) for side in sides)
        return refused_mean - answered

    def test_example(self, picture=True, safety="unsafe"):
        """A test example, with its picture or without one."""
        examples = self.twins(safety, "test")
        return next(e for e in examples if (e.picture is not None) == picture)


@pytest.fixture(scope="session")
def world(vlm, tmp_path_factory):
    """Twins with and without pictures in every split; refusals are pseudo-random."""
    examples = load(["image_centric"], 16)
    pictured = [e for e in load(["text_centric"], 20) if e.picture]
    plain = [e for e in load(["text_centric"]) if not e.picture]
    for split in ("train", "validation", "test"):
        examples += [e for e in pictured if e.split == split][:12]
        examples += [e for e in plain if e.split == split][:6]
    engine = Engine(vlm, Decoding(max_new_tokens=8))
    folder = tmp_path_factory.mktemp("fitting")
    fitting = Fitting(vlm, examples, load(["utility"], 8), answers, folder)
    return World(vlm, examples, fitting, engine, PlainModel(vlm))
