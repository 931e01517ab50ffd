"""Matching twins in the text-centric workbook, and their splits."""

from pathlib import Path

from vscbench_workbooks import (
    by_id,
    has_note,
    load_text,
    text_row,
    text_rows,
    write_text,
)

from calib.data.example import Benchmark, pairs


def twins(benchmark: Benchmark) -> set[tuple[str, str]]:
    return {
        (pair.safe.id.removeprefix("text_centric/"), pair.unsafe.id.removeprefix("text_centric/"))
        for pair in pairs(benchmark.examples)
    }


def test_twins_are_matched_by_focus_and_within_a_variant(tmp_path: Path) -> None:
    write_text(tmp_path)
    benchmark = load_text(tmp_path, "text_only", "typography")
    # Row 6 has no focus, so row 7 is the closer twin of row 8 although it comes later.
    expected = {(0, 4), (1, 5), (2, 3), (7, 8)}
    assert twins(benchmark) == {
        (f"{variant}/{safe}", f"{variant}/{unsafe}")
        for variant in ("text_only", "typography")
        for safe, unsafe in expected
    }
    assert has_note(benchmark, "focus: n=4", "order within the type: n=1")


def test_both_safe_twins_share_the_pair_of_their_contrast(tmp_path: Path) -> None:
    write_text(tmp_path)
    examples = by_id(load_text(tmp_path, "text_only"))
    shared = {examples[f"text_centric/text_only/{number}"].pair for number in (6, 7, 8)}
    assert shared == {"text_centric/8"}


def test_rows_without_focus_are_matched_in_order(tmp_path: Path) -> None:
    kinds = ["historical_events"] * 2 + ["contrast_historical_events"] * 2
    write_text(tmp_path, [text_row(i, kind, "", f"thing {i}") for i, kind in enumerate(kinds)])
    assert twins(load_text(tmp_path, "text_only")) == {
        ("text_only/0", "text_only/2"),
        ("text_only/1", "text_only/3"),
    }


def test_a_row_without_a_twin_is_its_own_pair_with_a_note(tmp_path: Path) -> None:
    write_text(tmp_path, [*text_rows(), text_row(9, "homonyms", "sew", "a sail")])
    benchmark = load_text(tmp_path, "text_only")
    assert by_id(benchmark)["text_centric/text_only/9"].pair == "text_centric/9"
    assert has_note(benchmark, "Excel rows 11 (n=1)")


def test_twins_and_variants_share_a_split_and_are_adjacent(tmp_path: Path) -> None:
    rows = [
        text_row(i, "homonyms" if i < 40 else "contrast_homonyms", f"v{i % 40}", f"thing {i}")
        for i in range(80)
    ]
    write_text(tmp_path, rows)
    benchmark = load_text(tmp_path, "text_only", "typography", "figstep")
    split_of_row: dict[int, set[str]] = {}
    for example in benchmark.examples:
        split_of_row.setdefault(int(example.id.split("/")[-1]) % 40, set()).add(example.split)
    assert all(len(splits) == 1 for splits in split_of_row.values())
    assert {split for splits in split_of_row.values() for split in splits} == {
        *("train", "validation", "test"),
    }
    assert [e.id.split("/", 1)[1] for e in benchmark.examples[:6]] == [
        *("text_only/0", "text_only/40", "typography/0", "typography/40"),
        *("figstep/0", "figstep/40"),
    ]


def test_the_selected_variants_do_not_change_the_split(tmp_path: Path) -> None:
    write_text(tmp_path)
    fewer = by_id(load_text(tmp_path, "text_only"))
    more = by_id(load_text(tmp_path, "text_only", "figstep"))
    assert all(more[id_].split == example.split for id_, example in fewer.items())
