"""Plan the rows of a sweep: the prompt and the edits of each example under each setting.

A row id is a hash of everything that the response depends on. A recorded row is therefore never
generated again, and several methods share the rows that they have in common.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from calib.data.example import Example, fingerprint
from calib.engine.edits import Edits
from calib.interventions.intervention import PromptFlow, Setting
from calib.runs.engines import AnyEngine
from calib.util.thoughts import final_answer


@dataclass(frozen=True)
class PlannedRow:
    """One example under one setting, as one request to the model."""

    id: str
    example: Example
    setting: Setting
    prompt: Example
    """The example as the model sees it; the same object unless a prompt flow rewrites it."""
    edits: Edits
    prompt_hash: str
    reference: Example | None = None
    """The unedited prompt that KL is measured against; None where it is ``prompt``."""
    earlier_responses: tuple[str, ...] = ()
    """Responses in the earlier steps of the prompt flow, without their thoughts."""

    @property
    def may_continue(self) -> bool:
        """Whether another step of a prompt flow may follow."""
        flow = self.setting.intervention.prompt_flow
        return flow is not None and flow.multi_step


class Planner:
    """Plans rows. Examples with equal prompts share one object, so that each is read once."""

    def __init__(self, engine: AnyEngine, cut_by: str = "") -> None:
        """``cut_by`` is the id of the judge that ends responses early, empty if none does."""
        self.engine = engine
        self._cut = f"/cut by {cut_by}" if cut_by else ""
        self._hashes: dict[int, tuple[Example, str]] = {}  # by id(); holds the example alive
        self._first: dict[str, Example] = {}

    def rows(self, examples: Sequence[Example], settings: Sequence[Setting]) -> list[PlannedRow]:
        """Every example under every setting; the settings of one example are adjacent."""
        columns = []
        first_prompts: dict[int, list[Example]] = {}  # by id() of the prompt flow
        for setting in settings:
            flow = setting.intervention.prompt_flow
            if flow is None:
                prompts = list(examples)
            else:
                if id(flow) not in first_prompts:
                    first_prompts[id(flow)] = [_first_prompt(flow, example) for example in examples]
                prompts = first_prompts[id(flow)]
            columns.append(self._rows(examples, [setting] * len(examples), prompts))
        return [row for rows in zip(*columns, strict=True) for row in rows]

    def next_steps(
        self, rows: Sequence[PlannedRow], responses: Sequence[str]
    ) -> list[PlannedRow | int]:
        """The next step of each row's prompt flow after its response, or, at its end, the index of
        the step whose response is the method's."""
        steps: list[PlannedRow | int] = []
        for row, response in zip(rows, responses, strict=True):
            flow = row.setting.intervention.prompt_flow
            assert flow is not None
            so_far = (*row.earlier_responses, final_answer(response))
            step = flow.next(row.example, so_far)
            if isinstance(step, int):
                steps.append(step)
            else:
                steps.append(replace(row, prompt=step, earlier_responses=so_far))
        continuing = [step for step in steps if isinstance(step, PlannedRow)]
        planned = iter(
            self._rows(
                [row.example for row in continuing],
                [row.setting for row in continuing],
                [row.prompt for row in continuing],
                [row.earlier_responses for row in continuing],
            )
        )
        return [step if isinstance(step, int) else next(planned) for step in steps]

    def _rows(
        self,
        examples: Sequence[Example],
        settings: Sequence[Setting],
        prompts: Sequence[Example],
        earlier: Sequence[tuple[str, ...]] = (),
    ) -> list[PlannedRow]:
        shared = [self._shared(prompt) for prompt in prompts]
        edits = _edits(settings, [prompt for prompt, _ in shared])
        rows = []
        for k, (example, setting) in enumerate(zip(examples, settings, strict=True)):
            prompt, prompt_hash = shared[k]
            unedited, unedited_hash = self._shared(example)
            row = PlannedRow(
                "",
                example,
                setting,
                prompt,
                edits[k],
                prompt_hash,
                None if prompt_hash == unedited_hash else unedited,
                earlier[k] if earlier else (),
            )
            # Which response counts is known at the end of a prompt flow, so none of them is cut.
            cut = "" if row.may_continue else self._cut
            parts = [self.engine.vlm.fingerprint, prompt_hash, self.engine.decoding.identity + cut]
            parts += [unedited_hash] if row.reference else []
            parts += [",".join(edit.identity for edit in edits[k])]
            digest = hashlib.sha256("/".join(parts).encode()).hexdigest()
            rows.append(replace(row, id=digest[:24]))
        return rows

    def _shared(self, prompt: Example) -> tuple[Example, str]:
        """The first example with the same prompt, and the hash of that prompt."""
        if id(prompt) not in self._hashes:
            self._hashes[id(prompt)] = (prompt, fingerprint(prompt))
        prompt_hash = self._hashes[id(prompt)][1]
        return self._first.setdefault(prompt_hash, prompt), prompt_hash


def _first_prompt(flow: PromptFlow, example: Example) -> Example:
    prompt = flow.next(example, ())
    assert isinstance(prompt, Example), "a prompt flow begins with a prompt"
    return prompt


def _edits(settings: Sequence[Setting], prompts: Sequence[Example]) -> list[Edits]:
    """The edits of each row, computed once per setting for all of its prompts."""
    edits: list[Edits] = [()] * len(prompts)
    by_setting: dict[int, list[int]] = {}
    for k, setting in enumerate(settings):
        by_setting.setdefault(id(setting), []).append(k)
    for indices in by_setting.values():
        intervention = settings[indices[0]].intervention
        of_setting = intervention.edits_for([prompts[k] for k in indices])
        for k, edits_of_prompt in zip(indices, of_setting, strict=True):
            edits[k] = edits_of_prompt
    return edits
