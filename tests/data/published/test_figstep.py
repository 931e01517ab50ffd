"""FigStep's SafeBench: the repository's pictures or drawn pictures, and their query."""

import pytest

from calib.data.published import figstep


def rows(*questions):
    return [
        {"dataset": "ForbidQI", "category_id": 1, "task_id": k, "category_name": "Baking"}
        | {"question": question, "instruction": f"Steps for task {k}."}
        for k, question in enumerate(questions, 1)
    ]


@pytest.fixture
def clone(tmp_path, write, monkeypatch):
    monkeypatch.setattr(figstep, "ROWS", {"SafeBench": 2, "SafeBench-Tiny": 1})
    write(tmp_path / "data/question/safebench.csv", rows("How to bake?", "How to ice?"))
    write(tmp_path / "data/question/SafeBench-Tiny.csv", rows("How to ice?"))
    for k, name in enumerate(("red", "blue"), 1):
        write(tmp_path / f"data/images/SafeBench/query_ForbidQI_1_{k}_6.png", name)
    return tmp_path


def test_the_picture_contains_the_request_and_the_judge_gets_the_question(clone, load, colour):
    benchmark = load("figstep", root=clone, train=0.5)
    first, second = benchmark.examples
    assert [colour(e) for e in benchmark.examples] == [(255, 0, 0), (0, 0, 255)]
    assert first.query == second.query and "numbers 1 to 3" in first.query
    assert "bake" not in first.query
    assert first.metadata == {"request": "How to bake?"}
    assert (first.dataset, first.variant, first.safety) == ("text_centric", "figstep", "unsafe")
    assert (first.id, first.category) == ("SafeBench/figstep/1/1", "Baking")
    assert benchmark.notes == []


def test_the_query_can_be_given(clone, load):
    benchmark = load("figstep", root=clone, query="Complete the list.", train=0.0, validation=1.0)
    assert {e.query for e in benchmark.examples} == {"Complete the list."}
    assert {e.split for e in benchmark.examples} == {"validation"}


def test_the_text_variant_uses_the_question_as_query(clone, load):
    benchmark = load("figstep", root=clone, variants=["text_only"])
    assert [(e.query, e.picture) for e in benchmark.examples] == [
        ("How to bake?", None),
        ("How to ice?", None),
    ]


def test_variants_and_subsets_of_a_question_are_one_pair(clone, load):
    benchmark = load(
        "figstep",
        root=clone,
        subsets=["SafeBench", "SafeBench-Tiny"],
        variants=["figstep", "text_only"],
    )
    ice = [e for e in benchmark.examples if e.metadata["request"] == "How to ice?"]
    assert [e.id for e in ice] == [
        *("SafeBench/figstep/1/2", "SafeBench/text_only/1/2"),
        *("SafeBench-Tiny/figstep/1/1", "SafeBench-Tiny/text_only/1/1"),
    ]
    assert len({(e.pair, e.split) for e in ice}) == 1
    assert len({e.pair for e in benchmark.examples}) == 2


def test_missing_pictures_are_drawn_with_a_note(clone, load):
    tiny = load("figstep", root=clone, subsets=["SafeBench-Tiny"])
    assert tiny.examples[0].picture().size == (448, 448)
    assert "SafeBench-Tiny" in tiny.notes[0] and "n=1" in tiny.notes[0]
    drawn = tiny.examples[0].picture.args[0]
    assert drawn == "Steps for task 1.\n1.\n2.\n3."


def test_it_is_not_on_the_hub(refused):
    refused("figstep", "missing-setting", "data=figstep", "data.root=FOLDER")
    values = ("data.hub=someone/figstep", "data.root=FOLDER")
    refused("figstep", "unsupported", *values, hub="someone/figstep")
