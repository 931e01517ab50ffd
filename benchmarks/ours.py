"""calib's engine as the benchmarks call it: the only file here that knows its names."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.cases import Case, Setting, Steering
from calib.data.example import Example
from calib.engine.decoding import Asked, Decoding
from calib.engine.edit import Edit
from calib.engine.generate import Engine
from calib.engine.operators import Add
from calib.vlm.load import VLM
from calib.vlm.pictures import Pictures


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
    """An engine that has done what it does once per run, and has seen none of a case's examples."""

    def __init__(self, case: Case, batch_rows: int | None = None) -> None:
        """``batch_rows`` is the engine's default unless given."""
        fresh = dataclasses.replace(case.vlm, pictures=Pictures())
        settings = {"max_new_tokens": case.max_new_tokens}
        if batch_rows is not None:
            settings["batch_rows"] = batch_rows
        self.vlm: VLM = fresh
        self.engine = Engine(fresh, Decoding(**settings))
        self.engine.answer([Asked(example) for example in case.warm_up])

    def answer(self, rows: Sequence[tuple[Example, Setting]]) -> list[tuple[int, ...]]:
        """The tokens that each row generated, the end token included."""
        # One object per setting, as in a sweep.
        edits = {id(setting): _edits(setting) for _, setting in rows}
        asked = [Asked(example, edits[id(setting)]) for example, setting in rows]
        return [response.tokens for response in self.engine.answer(asked)]

    @property
    def counts(self) -> Counts:
        """Since the engine was made."""
        tally = self.engine.tally
        return Counts(
            self.vlm.pictures.passes, tally.prefill_token_layers, tally.decode_row_steps
        )


def _edits(setting: Setting) -> tuple[Edit, ...]:
    if not isinstance(setting, Steering):
        return ()
    return (Edit(setting.layer, Add(setting.vector), setting.positions),)
