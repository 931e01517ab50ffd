"""calib's engine as the benchmarks call it; the only file here that uses the engine's API."""

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
    """Counts from the engine's own statistics."""

    pictures: int
    """Images that passed the vision tower."""
    prefill_token_layers: int
    decode_row_steps: int

    def __sub__(self, other: "Counts") -> "Counts":
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Counts(*(after - before for after, before in pairs))


class Ours:
    """An engine that has done its one-time work on other examples than those of the case."""

    def __init__(self, case: Case, batch_rows: int | None = None, kl: bool = True) -> None:
        """``batch_rows`` defaults to that of a sweep."""
        rows = batch_rows or GenerationConfig().batch_rows
        self.vlm: VLM = dataclasses.replace(case.vlm, feature_cache=FeatureCache())
        self.engine = Engine(self.vlm, Decoding(case.max_new_tokens, batch_rows=rows, kl=kl))
        self.engine.answer([Request(example) for example in case.warm_up])

    def forget(self) -> None:
        """Empty the cache of image features, so that the same work can be timed again."""
        self.vlm = self.engine.vlm = dataclasses.replace(self.vlm, feature_cache=FeatureCache())

    def answer(self, rows: Sequence[tuple[Example, Setting]]) -> list[tuple[int, ...]]:
        """Generated tokens of each row, including the end token."""
        # Rows of a setting share one object, as in a sweep.
        edits = {id(setting): _edits(setting) for _, setting in rows}
        requests = [Request(example, edits[id(setting)]) for example, setting in rows]
        return [response.tokens for response in self.engine.answer(requests)]

    @property
    def counts(self) -> Counts:
        """Counts since the engine was created; images since the last ``forget``."""
        stats = self.engine.stats
        return Counts(
            self.vlm.feature_cache.passes, stats.prefill_token_layers, stats.decode_row_steps
        )


def read_prompts(case: Case) -> Callable[[], object]:
    """Preparation of a case's prompts up to the decoder, with an empty cache of image features."""
    fresh = dataclasses.replace(case.vlm, feature_cache=FeatureCache())
    return lambda: prompts.read_prompts(fresh, case.examples)


def read_layers(case: Case, layers: Sequence[int] | None) -> Callable[[], object]:
    """Extraction from a case's prompts with an empty cache of image features; None: all layers."""
    fresh = dataclasses.replace(case.vlm, feature_cache=FeatureCache())
    rows = len(case.examples)
    return lambda: read_activations(fresh, case.examples, "last_prompt", rows, layers=layers)


def _edits(setting: Setting) -> tuple[Edit, ...]:
    if not isinstance(setting, Steering):
        return ()
    return (Edit(setting.layer, Add(setting.vector), setting.positions),)
