"""Chat templates that fail, do not end or write too much are refused with their reason."""

import copy
import threading
from dataclasses import replace

import pytest
from raising import raises

from calib.data.example import Example
from calib.models import chat_template, template_bounds
from calib.models.prompts import read_prompts
from calib.util.time_limit import time_limit

LOOP = "{% for a in range(99999) %}" * 3 + "{% endfor %}" * 3
HOSTILE = {
    "{{ 1 // 0 }}": "zero",
    "{% include '/etc/passwd' %}": "loader",
    "{% import 'os' as o %}": "loader",
    LOOP: "0.2 s",
    "{% for a in range(1000000000) %}{% endfor %}": "MAX_RANGE",
    "{{ 'x' * 2000000 }}": "2,000,000",
    "{{ 'x' * 10000000000000 }}": "MemoryError",
    "{{ 10**10**10 }}": "power",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}": "recursion",
    "{{ messages[99].role.x }}": "99",
    "{{ ''.__class__.__mro__ }}": "unsafe",
    "{{ messages | first | list | sum }}": "unsupported",
    "{% for": "template",
}


@pytest.fixture
def with_template(vlm, monkeypatch):
    monkeypatch.setattr(template_bounds, "SECONDS", 0.2)

    def change(template):
        processor = copy.copy(vlm.processor)
        processor.chat_template = template
        return replace(vlm, processor=processor, renderings={}, template_tails={})

    return change


EXAMPLE = Example("a", "utility", "text", "place", "test", "Where is it?")


@pytest.mark.parametrize("template", HOSTILE, ids=[template[:30] for template in HOSTILE])
def test_a_hostile_template_is_refused(with_template, template):
    with raises("unsupported", "chat template", HOSTILE[template]):
        read_prompts(with_template(template), [EXAMPLE])


def test_a_loop_without_end_is_stopped_in_a_thread_too(with_template):
    problems = []
    model = with_template(LOOP)
    thread = threading.Thread(
        target=lambda: problems.append(chat_template.arrival_problem(model, EXAMPLE))
    )
    thread.start()
    thread.join()
    assert "0.2 s" in problems[0]


def test_the_limit_ends_with_its_block():
    with pytest.raises(TimeoutError), time_limit(0.0):
        sum(1 for _ in range(100))
    assert sum(1 for _ in range(100)) == 100
