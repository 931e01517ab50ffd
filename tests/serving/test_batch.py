"""The steps of a served prompt flow, and prompts that the chat template does not show in full."""

import copy
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest

pytest.importorskip("fastapi", reason="the serve extra brings fastapi and uvicorn")

from calib.data.example import Example  # noqa: E402
from calib.engine.request import Response  # noqa: E402
from calib.interventions.intervention import Intervention, Setting  # noqa: E402
from calib.serving.batch import CONTEXT_EXCEEDED, PendingSteps, _tokens_of  # noqa: E402
from calib.serving.job import ResponseTracker  # noqa: E402
from calib.serving.served_model import ServedModel  # noqa: E402

EXAMPLE = Example("a", "request", "request", "request", "test", "What is it?")


def test_a_system_message_that_the_template_leaves_out_is_no_matter_of_length(vlm):
    processor = copy.copy(vlm.processor)
    processor.chat_template = processor.chat_template.replace(
        "in messages", "in messages if message['role'] != 'system'", 1
    )
    served = ServedModel(replace(vlm, processor=processor), "mini")
    asked = replace(EXAMPLE, system="Be kind.")
    error = _tokens_of(served, asked)
    assert (error.status, error.param, error.code) == (400, "messages", None)
    assert "system messages" in error.message
    assert isinstance(_tokens_of(ServedModel(vlm, "mini"), asked), list)
    too_long = _tokens_of(served, replace(EXAMPLE, query="knife " * 3000))
    assert too_long.code == CONTEXT_EXCEEDED


def test_later_steps_see_earlier_responses_without_thoughts():
    seen = []

    @dataclass(frozen=True)
    class Flow:
        multi_step: bool = True

        def next(self, example, responses):
            seen.append(list(responses))
            return example if len(responses) < 2 else 1

    example = EXAMPLE
    job = SimpleNamespace(example=example, cancelled=False)
    setting = Setting("flow", None, 1.0, Intervention(prompt_flow=Flow()))
    steps = PendingSteps(job, setting, example, ResponseTracker(job))
    for text in ("<think>Hm.</think>Yes", "<think>Cut off"):
        steps.responses.append(Response(text, (), "stop", None))
        final = steps.advance()
    assert seen == [["Yes"], ["Yes", ""]]
    assert final == 1
