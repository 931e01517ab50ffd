"""The steps of a served prompt flow."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

pytest.importorskip("fastapi", reason="the serve extra brings fastapi and uvicorn")

from calib.data.example import Example  # noqa: E402
from calib.engine.request import Response  # noqa: E402
from calib.interventions.intervention import Intervention, Setting  # noqa: E402
from calib.serving.batch import PendingSteps  # noqa: E402
from calib.serving.job import ResponseTracker  # noqa: E402


def test_later_steps_see_earlier_responses_without_thoughts():
    seen = []

    @dataclass(frozen=True)
    class Flow:
        multi_step: bool = True

        def next(self, example, responses):
            seen.append(list(responses))
            return example if len(responses) < 2 else 1

    example = Example("a", "request", "request", "request", "test", "What is it?")
    job = SimpleNamespace(example=example, cancelled=False)
    setting = Setting("flow", None, 1.0, Intervention(prompt_flow=Flow()))
    steps = PendingSteps(job, setting, example, ResponseTracker(job))
    for text in ("<think>Hm.</think>Yes", "<think>Cut off"):
        steps.responses.append(Response(text, (), "stop", None))
        final = steps.advance()
    assert seen == [["Yes"], ["Yes", ""]]
    assert final == 1
