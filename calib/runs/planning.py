"""Plan the rows of a sweep: which example is shown how, under which edits.

A row is (example, setting). Its id hashes everything its answer depends on, so a row that is in the
record is never computed again, and rows of one record may serve several methods.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from calib.data.example import Example, fingerprint
from calib.engine.edits import Edits
from calib.engine.engine import Engine
from calib.engine.remote import RemoteEngine
from calib.interventions.intervention import PromptFlow, Setting


@dataclass(frozen=True)
class PlannedRow:
    """One example under one setting, as it is asked."""

    id: str
    example: Example
    setting: Setting
    shown: Example
    """What the model sees; the example itself unless a dialogue changes it."""
    edits: Edits
    looks: str
    """Fingerprint of what is shown."""
    base: Example | None = None
    """What KL is measured against where something else is shown."""
    said: tuple[str, ...] = ()
    """What was answered in the earlier steps of its dialogue."""

    @property
    def open(self) -> bool:
        """Whether its dialogue may go on after this step."""
        dialogue = self.setting.intervention.prompt_flow
        return dialogue is not None and dialogue.multi_step


class Planner:
    """Makes rows. Examples that look alike are shown as one object, so that they are read once."""

    def __init__(self, engine: Engine | RemoteEngine, cut_by: str = "") -> None:
        """``cut_by`` names the judge that ends responses early, if one does."""
        self.engine = engine
        self.how = engine.decoding.identity
        self.cut = f"/cut by {cut_by}" if cut_by else ""
        self._looks: dict[int, tuple[Example, str]] = {}  # by id(); holds the example alive
        self._alike: dict[str, Example] = {}

    def rows(self, examples: Sequence[Example], settings: Sequence[Setting]) -> list[PlannedRow]:
        """Every example under every setting; settings of one example stand together."""
        columns = []
        first: dict[int, list[Example]] = {}  # by dialogue
        for setting in settings:
            dialogue = setting.intervention.prompt_flow
            if dialogue is None:
                shown = list(examples)
            else:
                if id(dialogue) not in first:
                    first[id(dialogue)] = [_first(dialogue, example) for example in examples]
                shown = first[id(dialogue)]
            columns.append(self._asked(examples, [setting] * len(examples), shown))
        return [row for rows in zip(*columns, strict=True) for row in rows]

    def next_step(self, rows: Sequence[PlannedRow], said: Sequence[str]) -> list[PlannedRow | int]:
        """The next step of each row's dialogue, or the place of the response that counts."""
        found: list[PlannedRow | int] = []
        for row, text in zip(rows, said, strict=True):
            dialogue = row.setting.intervention.prompt_flow
            assert dialogue is not None
            so_far = (*row.said, text)
            step = dialogue.next(row.example, so_far)
            found.append(step if isinstance(step, int) else replace(row, shown=step, said=so_far))
        going = [row for row in found if isinstance(row, PlannedRow)]
        asked = iter(
            self._asked(
                [row.example for row in going],
                [row.setting for row in going],
                [row.shown for row in going],
                [row.said for row in going],
            )
        )
        return [step if isinstance(step, int) else next(asked) for step in found]

    def _asked(
        self,
        examples: Sequence[Example],
        settings: Sequence[Setting],
        shown: Sequence[Example],
        said: Sequence[tuple[str, ...]] = (),
    ) -> list[PlannedRow]:
        seen = [self._same(one) for one in shown]
        edits = _edits(settings, [one for one, _ in seen])
        rows = []
        for k, (example, setting) in enumerate(zip(examples, settings, strict=True)):
            one, looks = seen[k]
            plain, own_looks = self._same(example)
            base = None if looks == own_looks else plain
            row = PlannedRow(
                "", example, setting, one, edits[k], looks, base, said[k] if said else ()
            )
            # What counts of a dialogue of several steps is known at its end: none of it is cut.
            parts = [self.engine.vlm.fingerprint, looks, self.how + ("" if row.open else self.cut)]
            parts += [own_looks] if base else []
            parts += [",".join(edit.identity for edit in edits[k])]
            digest = hashlib.sha256("/".join(parts).encode()).hexdigest()
            rows.append(replace(row, id=digest[:24]))
        return rows

    def _same(self, example: Example) -> tuple[Example, str]:
        """The first example that looks like this one, and what it looks like."""
        if id(example) not in self._looks:
            self._looks[id(example)] = (example, fingerprint(example))
        looks = self._looks[id(example)][1]
        return self._alike.setdefault(looks, example), looks


def _first(dialogue: PromptFlow, example: Example) -> Example:
    shown = dialogue.next(example, ())
    assert isinstance(shown, Example), "a dialogue begins with a question"
    return shown


def _edits(settings: Sequence[Setting], shown: Sequence[Example]) -> list[Edits]:
    """The edits of rows; each setting is asked once for all of its examples."""
    found: list[Edits] = [()] * len(shown)
    by_setting: dict[int, list[int]] = {}
    for k, setting in enumerate(settings):
        by_setting.setdefault(id(setting), []).append(k)
    for places in by_setting.values():
        change = settings[places[0]].intervention
        for k, edits in zip(places, change.edits_for([shown[k] for k in places]), strict=True):
            found[k] = edits
    return found


def plan_rows(
    engine: Engine, examples: Sequence[Example], settings: Sequence[Setting], cut_by: str = ""
) -> list[PlannedRow]:
    """Every example under every setting; settings of one example stand together."""
    return Planner(engine, cut_by).rows(examples, settings)
