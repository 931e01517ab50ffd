"""Tables of twins and of translations, and errors in them."""

import csv
import json
from pathlib import Path

import pytest
from raising import raises

from calib.data.dualbench.twins import (
    check_translations,
    limit_per_category,
    read_translations,
    read_twins,
    with_translations,
)
from calib.data.splits import split_of

GOOD = {"category": "S9", "harmful": "Buy a drone.", "benign": "Buy a melon."}


def table(path: Path, *rows: dict[str, str]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_twins_are_read_with_their_translations_and_ids(tmp_path: Path) -> None:
    row = {**GOOD, "category": "privacy", "id": "p7", "harmful": " Buy  a\ndrone. "}
    row |= {"harmful_translation": "Compra un dron.", "benign_translation": "Compra un melón."}
    ((twin,), notes) = read_twins(table(tmp_path / "twins.csv", row))
    assert (twin.pair, twin.category.code) == ("dualbench/S7/p7", "S7")
    assert (twin.harmful, twin.benign) == ("Buy a drone.", "Buy a melon.")
    assert twin.harmful_translation == "Compra un dron."
    assert twin.benign_translation == "Compra un melón."
    assert notes == []


def test_without_an_id_the_key_is_a_hash_of_the_texts(tmp_path: Path) -> None:
    other = {**GOOD, "benign": "Buy a lemon."}
    both, _ = read_twins(table(tmp_path / "both.csv", GOOD, other))
    (alone,), _ = read_twins(table(tmp_path / "alone.csv", other))
    assert both[1].pair == alone.pair != both[0].pair


def test_json_lines_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "twins.jsonl").write_text(json.dumps(GOOD) + "\n", encoding="utf-8")
    assert read_twins(tmp_path / "twins.jsonl")[0][0].harmful == "Buy a drone."


def test_a_repeated_twin_is_skipped_with_a_note(tmp_path: Path) -> None:
    twins, notes = read_twins(table(tmp_path / "twins.csv", GOOD, GOOD, GOOD))
    assert len(twins) == 1
    assert "2 rows" in notes[0]


@pytest.mark.parametrize("benign", ["Buy a ripe melon.", "Buy a melon!"])
def test_twins_of_unequal_form_have_a_note(tmp_path: Path, benign: str) -> None:
    rows = (
        GOOD,
        {
            **GOOD,
            "harmful": "Buy a kite.",
            "benign": benign,
        },
    )
    _, notes = read_twins(table(tmp_path / "twins.csv", *rows))
    assert "1 of 2 twins" in notes[0]


@pytest.mark.parametrize(
    ("change", "code", "values"),
    [
        ({"category": "Hats"}, "invalid-value", ["'Hats'", "'Hate'?"]),
        ({"benign": " "}, "missing-value", ["'benign'"]),
        ({"harmful": ""}, "missing-value", ["'harmful'"]),
        ({"benign": "Buy a drone."}, "invalid-value", ["harmful", "benign"]),
        ({"id": "a", "benign": "Buy a fig."}, "duplicate", ["'a'", "Indiscriminate Weapons"]),
        ({"id": "a\x1bb"}, "invalid-value", [r"'a\x1bb'"]),
    ],
)
def test_an_invalid_row_is_named(
    tmp_path: Path, change: dict[str, str], code: str, values: list[str]
) -> None:
    first = {"id": "a", **GOOD}
    path = (
        table(tmp_path / "twins.csv", first, {**first, "harmful": "Buy a kite.", **change})
        if ("harmful" not in change and "Buy a drone." not in change.values())
        else table(tmp_path / "twins.csv", first, {**first, "id": "b", **change})
    )
    with raises(code, "row 2", *values):
        read_twins(path)


def test_a_missing_column_is_reported_with_the_nearest_name(tmp_path: Path) -> None:
    path = table(tmp_path / "twins.csv", {"category": "S1", "harmfull": "a", "benign": "b"})
    with raises("missing-column", "'harmful'", "'harmfull'"):
        read_twins(path)


def test_translations_of_a_table_replace_a_twins_own(tmp_path: Path) -> None:
    own = {**GOOD, "harmful_translation": "x", "benign_translation": "y"}
    twins, _ = read_twins(table(tmp_path / "twins.csv", own))
    mapping = read_translations(
        table(
            tmp_path / "translations.csv",
            {"text": "Buy a drone.", "translation": "Achète un drone."},
            {"text": "Buy a melon.", "translation": "Achète un melon."},
        )
    )
    (twin,) = with_translations(twins, mapping)
    assert (twin.harmful_translation, twin.benign_translation) == (
        "Achète un drone.",
        "Achète un melon.",
    )
    check_translations([twin])
    # The twin's own translations do not complete a table.
    for text in ("Buy a drone.", "Buy a melon."):
        (half,) = with_translations(twins, {text: "Achète."})
        assert {half.harmful_translation, half.benign_translation} == {"Achète.", ""}
        with raises("missing-value", "1 of 1 twins", "dualbench/S9/", "data.variants"):
            check_translations([half])


def test_a_text_has_one_translation(tmp_path: Path) -> None:
    rows = [{"text": "a", "translation": word} for word in ("b", "b", "c")]
    with raises("duplicate", "row 3", "'a'"):
        read_translations(table(tmp_path / "two.csv", *rows))
    with raises("missing-value", "row 1"):
        read_translations(table(tmp_path / "none.csv", {"text": "a", "translation": ""}))


def test_a_smaller_limit_gives_a_subset_with_all_splits() -> None:
    pairs = {f"dualbench/S{k % 2}/{k}": f"S{k % 2}" for k in range(200)}
    few, more = limit_per_category(pairs, 20), limit_per_category(pairs, 40)
    assert few < more and len(few) == 40 and len(more) == 80
    assert limit_per_category(pairs, None) == set(pairs)
    # The draw is independent of the splits, which are also hashes of the pair id.
    assert {split_of(pair, 0.3, 0.2) for pair in few} == {"train", "validation", "test"}
