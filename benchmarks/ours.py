"""calib's engine as the benchmarks call it: the only file here that knows its names."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.cases import Case, Setting, Steering
from calib.config.sweep import GenerationConfig
from calib.data.example import Example
from calib.engine.activations import read_activations
from calib.engine.edits import Edit
from calib.engine.engine import Engine
from calib.engine.operators import Add
from calib.engine.request import Decoding, Request
from calib.models import prompts
from calib.models.feature_cache import FeatureCache
from calib.models.load import VLM


@dataclass(frozen=True)
class Counts:
    """What the engine says it computed."""

    pictures: int
    """Pictures that passed the vision tower."""
    prefill_token_layers: int
    decode_row_steps: int

    def __sub__(self, other: "Counts") -> "Counts":
        parts = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Counts(*(mine - theirs for mine, theirs in parts))


class Ours:
    """An engine that has done what it does once per run, with other examples than the case's."""

    def __init__(self, case: Case, batch_rows: int | None = None, kl: bool = True) -> None:
        """``batch_rows`` is what a sweep has by default unless given."""
        rows = batch_rows or GenerationConfig().batch_rows
        self.vlm: VLM = dataclasses.replace(case.vlm, feature_cache=FeatureCache())
        self.engine = Engine(self.vlm, Decoding(case.max_new_tokens, batch_rows=rows, kl=kl))
        self.engine.answer([Request(example) for example in case.warm_up])

    def forget(self) -> None:
        """Lose the pictures' features, so that the same work can be timed again."""
        self.vlm = self.engine.vlm = dataclasses.replace(self.vlm, feature_cache=FeatureCache())

    def answer(self, rows: Sequence[tuple[Example, Setting]]) -> list[tuple[int, ...]]:
        """The tokens that each row generated, the end token included."""
        # One object per setting, as in a sweep.
        edits = {id(setting): _edits(setting) for _, setting in rows}
        asked = [Request(example, edits[id(setting)]) for example, setting in rows]
        return [response.tokens for response in self.engine.answer(asked)]

    @property
    def counts(self) -> Counts:
        """Since the engine was made; pictures since they were forgotten."""
        stats = self.engine.stats
        return Counts(
            self.vlm.feature_cache.passes, stats.prefill_token_layers, stats.decode_row_steps
        )


def read_prompts(case: Case) -> Callable[[], object]:
    """Reading a case's prompts, up to the decoder, as if for the first time."""
    fresh = dataclasses.replace(case.vlm, feature_cache=FeatureCache())
    return lambda: prompts.read_prompts(fresh, case.examples)


def read_layers(case: Case, layers: Sequence[int] | None) -> Callable[[], object]:
    """Extraction from a case's prompts, as if for the first time; None is all layers."""
    fresh = dataclasses.replace(case.vlm, feature_cache=FeatureCache())
    rows = len(case.examples)
    return lambda: read_activations(fresh, case.examples, "last_prompt", rows, layers=layers)


def _edits(setting: Setting) -> tuple[Edit, ...]:
    if not isinstance(setting, Steering):
        return ()
    return (Edit(setting.layer, Add(setting.vector), setting.positions),)
