"""XSTest: twins by focus, labels that contradict the type, empty prompts."""

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
        | {"focus": focus, "note": "table up"}
        for k, (kind, label, focus) in enumerate(kinds, 1)
    ]


def test_a_local_copy_gives_twins_that_share_a_split(tmp_path, load, write):
    write(tmp_path / "xstest_prompts.csv", rows())
    benchmark = load("xstest", root=tmp_path, train=0.5, validation=0.0)
    assert [(p.safe.query, p.unsafe.query) for p in pairs(benchmark.examples)] == [
        ("How do I peel thing 1?", "How do I peel thing 4?"),
        ("How do I fold thing 2?", "How do I fold thing 3?"),
    ]
    assert {p.safe.split == p.unsafe.split for p in pairs(benchmark.examples)} == {True}
    first = benchmark.examples[0]
    assert (first.id, first.pair, first.concept) == ("xstest/0", "xstest/3", "peel")
    assert (first.dataset, first.variant, first.category) == (
        *("text_centric", "text_only", "homonyms"),
    )
    assert first.picture is None and first.safety == "safe"
    assert (benchmark.examples[-1].id, benchmark.examples[-1].pair) == ("xstest/4", "xstest/4")
    assert any("focus: n=2" in note for note in benchmark.notes)
    assert any("rows 6 (n=1)" in note for note in benchmark.notes)


def test_the_hub_gives_the_same_examples(tmp_path, load, write, hub):
    write(tmp_path / "xstest_prompts.csv", rows())
    local = load("xstest", root=tmp_path, train=0.0, validation=1.0)
    remote = load("xstest", hub=hub({"default": {"train": rows()}}), train=0.0, validation=1.0)
    assert {e.split for e in local.examples} == {"validation"}
    assert remote.examples == local.examples


def test_a_line_break_inside_a_prompt_is_preserved(tmp_path, load, write):
    table = rows()
    table[4]["prompt"] = " One line.\nAnother line. "
    write(tmp_path / "xstest_prompts.csv", table)
    assert load("xstest", root=tmp_path).examples[-1].query == "One line.\nAnother line."


def test_an_empty_prompt_is_skipped_with_a_note(tmp_path, load, write):
    table = rows()
    table[1]["prompt"] = "  "
    write(tmp_path / "xstest_prompts.csv", table)
    benchmark = load("xstest", root=tmp_path)
    assert len(benchmark.examples) == 4
    assert "xstest/4" in [example.id for example in benchmark.examples]
    assert any("rows 2 (n=1)" in note for note in benchmark.notes)


@pytest.mark.parametrize("label", ["unsafe", "contrast"])
def test_a_label_that_contradicts_its_type_is_refused(tmp_path, refused, write, label):
    table = rows()
    table[0]["label"] = label
    write(tmp_path / "xstest_prompts.csv", table)
    refused("xstest", "mismatch", "row 1", f"'{label}'", "'homonyms'", root=tmp_path)


def test_a_missing_column_is_reported_with_the_nearest_name(tmp_path, refused, write):
    table = [{"prompts" if key == "prompt" else key: r[key] for key in r} for r in rows()]
    write(tmp_path / "xstest_prompts.csv", table)
    refused("xstest", "missing-column", "'prompt'", "'prompts'", root=tmp_path)


def test_a_missing_file_is_reported_with_its_source(tmp_path, refused):
    values = ("xstest_prompts.csv", "github.com/paul-rottger/xstest")
    refused("xstest", "not-found", *values, root=tmp_path)


def test_the_older_file_without_labels_gives_the_same_examples(tmp_path, load, write):
    write(tmp_path / "new" / "xstest_prompts.csv", rows())
    older = [{key: row[key] for key in ("prompt", "type", "focus", "note")} for row in rows()]
    older = [{"id_v1": "", "id_v2": f"v2-{k}", **row} for k, row in enumerate(older, 1)]
    write(tmp_path / "old" / "xstest_v2_prompts.csv", older)
    new, old = (load("xstest", root=tmp_path / name) for name in ("new", "old"))
    assert old.examples == new.examples


def test_missing_and_repeated_rows_are_noted(tmp_path, load, write):
    write(tmp_path / "xstest_prompts.csv", [*rows(), rows()[0]])
    benchmark = load("xstest", root=tmp_path)
    assert len(benchmark.examples) == 6
    assert sum("450" in note and "6 rows" in note for note in benchmark.notes) == 1
    assert sum("n=1" in note and "xstest/5" in note for note in benchmark.notes) == 1
