"""Transformed examples are made once, and forgotten with their originals."""

import gc
from dataclasses import replace
from types import SimpleNamespace

import pytest

from calib.data.example import Example
from calib.interventions.contrasts import JudgedAnswer
from calib.interventions.example_cache import ExampleCache
from calib.interventions.pictures import Captions, picture_variant


def example(query="q", **fields):
    return Example("id", "c", "d", "safe", "test", query, **fields)


@pytest.fixture
def made():
    return []


@pytest.fixture
def cache(made):
    def transform(examples):
        made.extend(examples)
        return [replace(each, query=each.query.upper()) for each in examples]

    return ExampleCache(transform)


def test_each_example_is_transformed_once(cache, made):
    first, second = example("a"), example("b")
    shown = cache.get([first, second, first])
    assert [each.query for each in shown] == ["A", "B", "A"]
    assert made == [first, second]
    again = cache.get([second, example("a")])
    assert again[0] is shown[1] and again[1] is not shown[0]
    assert len(made) == 3
    assert cache.get([]) == []


def test_the_examples_of_requests_are_forgotten(cache, made):
    lasting = example("of the run")
    before = cache.get([lasting])[0]
    for number in range(50):  # ids of freed examples are used again
        assert cache.get([example(f"query {number}")])[0].query == f"QUERY {number}"
        made.clear()
        gc.collect()
        assert len(cache) == 1
    assert cache.get([lasting])[0] is before


def test_unchanged_examples_are_forgotten(picture=lambda: None):
    cache = picture_variant("own")
    shown = example(picture=picture)
    assert cache.get([shown])[0] is shown
    del shown
    gc.collect()
    assert len(cache) == 0


def test_captions_of_requests_are_forgotten(picture=lambda: None):
    def caption(questions, purpose, judged):
        return [JudgedAnswer(f"about {each.query}", None) for each in questions]

    config = SimpleNamespace(captions=None, question="{query}?", captioned="{caption}: {query}")
    fitting = SimpleNamespace(
        baseline_answers=caption, vlm=SimpleNamespace(checkpoint="some/model")
    )
    captions = Captions(fitting, config)
    shown, plain = example("a", picture=picture), example("b")
    replaced = captions.replace_pictures([plain, shown, plain])
    assert [each.query for each in replaced] == ["b", "about a?: a", "b"]
    assert replaced[0] is plain and not replaced[1].pictures
    assert captions.replace_pictures([shown])[0] is replaced[1]
    del shown
    gc.collect()
    assert len(captions._captioned) == 0
