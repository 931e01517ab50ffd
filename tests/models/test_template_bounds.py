"""Bounds on the time and the text of chat templates."""

import pytest
from jinja2 import TemplateError

from calib.models import template_bounds
from calib.models.template_bounds import rendered, require_no_power


@pytest.mark.parametrize("template", ["{{ 2 ** 3 }}", "{% set a = b**c %}", {"a": "{{ 2**3 }}"}])
def test_a_power_is_refused(template):
    with pytest.raises(TemplateError, match="power"):
        require_no_power(template)


@pytest.mark.parametrize("template", ["**bold** {{ '**' }} {# 2 ** 3 #}", "{{ 2 * 3 }}", None, 5])
def test_other_stars_are_text(template):
    require_no_power(template)


def test_long_texts_may_make_long_prompts(monkeypatch):
    monkeypatch.setattr(template_bounds, "CHARACTERS", 100)
    assert rendered("", 10, lambda: "x" * 260) == "x" * 260
    with pytest.raises(TemplateError, match="261"):
        rendered("", 10, lambda: "x" * 261)


def test_what_is_no_text_is_refused():
    with pytest.raises(TemplateError, match="list"):
        rendered("", 1, lambda: ["a"])
