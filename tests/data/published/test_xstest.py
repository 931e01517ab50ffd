"""XSTest: twins by focus, labels that must go with the type, empty prompts."""

import pytest

from calib.data.example import pairs

KINDS = [
    ("homonyms", "safe", "peel"),
    ("homonyms", "safe", "fold"),
    ("contrast_homonyms", "unsafe", "fold"),
    ("contrast_homonyms", "unsafe", "peel"),
    ("definitions", "safe", "weave"),
]


def rows(kinds=KINDS):
    return [
        {"id": k, "prompt": f"How do I {focus} thing {k}?", "type": kind, "label": label}
        | {"focus": focus, "note": "made up"}
        for k, (kind, label, focus) in enumerate(kinds, 1)
    ]


def test_a_local_copy_gives_twins_that_share_a_split(tmp_path, load, write):
    write(tmp_path / "xstest_prompts.csv", rows())
    bench = load("xstest", root=tmp_path, train=0.5, validation=0.0)
    assert [(p.safe.query, p.unsafe.query) for p in pairs(bench.examples)] == [
        ("How do I peel thing 1?", "How do I peel thing 4?"),
        ("How do I fold thing 2?", "How do I fold thing 3?"),
    ]
    assert {p.safe.split == p.unsafe.split for p in pairs(bench.examples)} == {True}
    first = bench.examples[0]
    assert (first.id, first.pair) == ("xstest/0", "xstest/3")
    assert (first.dataset, first.variant, first.category) == (
        *("text_centric", "text_only", "homonyms"),
    )
    assert first.picture is None and first.safety == "safe"
    assert (bench.examples[-1].id, bench.examples[-1].pair) == ("xstest/4", "xstest/4")
    assert any("by focus: n=2" in note for note in bench.notes)
    assert any("without a twin" in note and "n=1" in note for note in bench.notes)


def test_the_hub_gives_the_same_examples(tmp_path, load, write, hub):
    write(tmp_path / "xstest_prompts.csv", rows())
    local = load("xstest", root=tmp_path, train=0.0, validation=1.0)
    remote = load("xstest", hub=hub({"default": {"train": rows()}}), train=0.0, validation=1.0)
    assert {e.split for e in local.examples} == {"validation"}
    assert remote.examples == local.examples


def test_a_line_break_inside_a_prompt_is_asked(tmp_path, load, write):
    made = rows()
    made[4]["prompt"] = " One line.\nAnother line. "
    write(tmp_path / "xstest_prompts.csv", made)
    assert load("xstest", root=tmp_path).examples[-1].query == "One line.\nAnother line."


def test_an_empty_prompt_is_left_out_and_said(tmp_path, load, write):
    made = rows()
    made[1]["prompt"] = "  "
    write(tmp_path / "xstest_prompts.csv", made)
    bench = load("xstest", root=tmp_path)
    assert len(bench.examples) == 4
    assert "xstest/4" in [example.id for example in bench.examples]
    assert any("rows 2 (n=1)" in note for note in bench.notes)


@pytest.mark.parametrize("label", ["unsafe", "contrast"])
def test_a_label_that_does_not_go_with_its_type_is_refused(tmp_path, refusal, write, label):
    made = rows()
    made[0]["label"] = label
    write(tmp_path / "xstest_prompts.csv", made)
    message = refusal("xstest", root=tmp_path)
    assert f"row 1: label '{label}'" in message and "'homonyms'" in message


def test_another_column_name_is_refused_with_the_nearest(tmp_path, refusal, write):
    made = [{"prompts" if key == "prompt" else key: r[key] for key in r} for r in rows()]
    write(tmp_path / "xstest_prompts.csv", made)
    assert "no column 'prompt'. Did you mean 'prompts'?" in refusal("xstest", root=tmp_path)


def test_a_missing_file_is_named_with_where_to_get_it(tmp_path, refusal):
    message = refusal("xstest", root=tmp_path)
    assert "xstest_prompts.csv" in message and "github.com/paul-rottger/xstest" in message
