"""The VSCBench loader on small workbooks of our own that have the real ones' schema and defects."""

import pickle
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from PIL import Image

from calib.config.data import VscbenchData
from calib.data import vscbench_tables
from calib.data.benchmarks import load_benchmark
from calib.data.example import Benchmark, Example, pairs
from calib.data.text_image import render_text
from calib.data.vscbench import PARTS, VARIANTS, load
from calib.data.vscbench_tables import IMAGE_COLUMNS, TEXT_COLUMNS
from calib.util.errors import CalibError

QUERY = "Fill in the list."
TEXT, IMAGE = "vscbench_text_centric.xlsx", "vscbench_image_centric.xlsx"
REAL = Path(__file__).parents[2].parent / "shared" / "data" / "vscbench"

Cells = dict[str, Any]


def text_row(number: int, kind: str, focus: str, thing: str) -> Cells:
    return {
        "type": kind,
        "focus": focus,
        "prompt_origin": f"How can I {focus or 'paint'} {thing}?",
        "prompt_mm": f"How can I {focus or 'paint'} the content in the image?",
        "object": thing,
        "prompt_figstep": f"Steps to {focus or 'paint'} {thing}.",
        "search_img": f"d_{number}_0.png",
        "typography_img": f"{number}_{thing.replace(' ', '_')}.png",
        "concat_img": f"{number}_concat.png",
        "figstep_img": f"{number}_fistep.png",
    }


def text_rows() -> list[Cells]:
    """Two twins whose order differs from their focus, and two safe types with one contrast."""
    kinds = [
        ("homonyms", "peel", "an egg"),
        ("homonyms", "peel", "a nut"),
        ("homonyms", "fold", "a map"),
        ("contrast_homonyms", "fold", "a tent"),
        ("contrast_homonyms", "peel", "a wall"),
        ("contrast_homonyms", "peel", "a door"),
        ("nons_group_real_discr", "", "a hat"),
        ("real_group_nons_discr", "lift", "a box"),
        ("contrast_discr", "lift", "a car"),
    ]
    return [text_row(number, *kind) for number, kind in enumerate(kinds)]


def image_row(number: int, category: str = "drugs") -> Cells:
    files = {
        f"{side}_img_{j}": f"{side}_{category}_{number}_{j}.png"
        for side in ("safe", "unsafe")
        for j in range(3)
    }
    return {"Category": category, "Prompt": "What is this used for?", **files}


def write(path: Path, columns: Sequence[str | None], rows: Sequence[Mapping[str, Any]]) -> None:
    book = openpyxl.Workbook()
    book.active.title = "Sheet1"
    book.active.append(list(columns))
    for row in rows:
        book.active.append([row.get(column) if column else None for column in columns])
    book.save(path)


def write_text(
    root: Path, rows: Sequence[Cells] | None = None, columns: Sequence[str | None] = TEXT_COLUMNS
) -> None:
    write(root / TEXT, columns, text_rows() if rows is None else rows)


def write_images(
    root: Path, rows: Sequence[Cells], columns: Sequence[str | None] = (*IMAGE_COLUMNS, None, None)
) -> None:
    write(root / IMAGE, columns, rows)


def put_picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), "red").save(path, format="PNG")


def put_text_pictures(root: Path, variant: str) -> Path:
    folder = root / "vscbench_text_centric_images" / variant
    for row in text_rows():
        put_picture(folder / row[f"{variant}_img"])
    return folder


def put_image_pictures(root: Path, rows: Sequence[Cells]) -> Path:
    folder = root / "vscbench_image_centric_images"
    for row in rows:
        for column in IMAGE_COLUMNS[2:]:
            if row[column] and "/" not in row[column]:
                put_picture(folder / row["Category"] / row[column])
    return folder


def text(root: Path, *variants: str, system: str | None = None) -> Benchmark:
    return load(root, ["text_centric"], variants, QUERY, system)


def photos(root: Path) -> Benchmark:
    return load(root, ["image_centric"], [], QUERY)


def refusal(
    root: str | Path | None,
    parts: Any = ("text_centric",),
    variants: Any = ("text_only",),
    query: str = QUERY,
) -> str:
    with pytest.raises(CalibError) as caught:
        load(root, parts, variants, query)
    return str(caught.value)


def by_id(bench: Benchmark) -> dict[str, Example]:
    examples = {example.id: example for example in bench.examples}
    assert len(examples) == len(bench.examples)
    return examples


# Text-centric examples


def test_each_variant_has_its_query_and_picture(tmp_path: Path) -> None:
    write_text(tmp_path)
    for variant in ("search", "concat"):
        put_text_pictures(tmp_path, variant)
    examples = by_id(text(tmp_path, *VARIANTS, system="Be careful."))
    assert len(examples) == 9 * 5
    queries = {variant: examples[f"text_centric/{variant}/0"].query for variant in VARIANTS}
    assert queries == {
        "text_only": "How can I peel an egg?",
        "typography": "How can I peel the content in the image?",
        "search": "How can I peel the content in the image?",
        "concat": "How can I peel the content in the image?",
        "figstep": QUERY,
    }
    assert examples["text_centric/text_only/0"].picture is None
    example = examples["text_centric/search/0"]
    assert example.picture is not None
    assert example.picture().size == (8, 6)
    assert (example.dataset, example.variant, example.category, example.safety) == (
        *("text_centric", "search", "homonyms", "safe"),
    )
    assert example.system == "Be careful."
    assert example.metadata == {"object": "an egg", "request": "How can I peel an egg?"}
    assert examples["text_centric/search/4"].safety == "unsafe"


def test_typography_and_figstep_are_rendered_where_their_folders_are_missing(
    tmp_path: Path,
) -> None:
    write_text(tmp_path)
    bench = text(tmp_path, "typography", "figstep")
    examples = by_id(bench)
    typography, figstep = (
        examples[f"text_centric/{v}/0"].picture for v in ("typography", "figstep")
    )
    assert typography is not None
    assert figstep is not None
    assert typography().tobytes() == render_text("an egg", size=448).tobytes()
    steps = "Steps to peel an egg.\n1.\n2.\n3."
    assert figstep().tobytes() == render_text(steps, size=448).tobytes()
    rendered = [note for note in bench.notes if "rendered" in note]
    assert ["'object'" in rendered[0], "'prompt_figstep'" in rendered[1]] == [True, True]
    assert all(note.endswith("n=9") for note in rendered)


@pytest.mark.parametrize("variant", ["typography", "figstep"])
def test_present_folders_are_preferred_to_rendering(tmp_path: Path, variant: str) -> None:
    write_text(tmp_path)
    put_text_pictures(tmp_path, variant)
    bench = text(tmp_path, variant)
    assert {e.picture().size for e in bench.examples if e.picture} == {(8, 6)}
    assert not [note for note in bench.notes if "rendered" in note]


def test_a_bench_can_be_pickled(tmp_path: Path) -> None:
    write_text(tmp_path)
    bench = text(tmp_path, "figstep")
    copy = pickle.loads(pickle.dumps(bench))
    assert copy.examples[0].picture().tobytes() == bench.examples[0].picture().tobytes()  # type: ignore[misc]


def test_search_and_concat_are_refused_together_without_their_pictures(tmp_path: Path) -> None:
    write_text(tmp_path)
    message = refusal(tmp_path, variants=["text_only", "search", "concat"])
    for variant, first in (("search", "d_0_0.png"), ("concat", "0_concat.png")):
        folder = tmp_path / "vscbench_text_centric_images" / variant
        assert f"{variant}: 9 of 9 pictures are missing from {folder}" in message
        assert f"{first}, " in message
    assert "a folder that does not exist" in message
    assert "Put them there." in message
    assert "out of data.variants" in message


def test_single_missing_pictures_are_counted_and_named(tmp_path: Path) -> None:
    write_text(tmp_path)
    folder = put_text_pictures(tmp_path, "typography")
    (folder / "0_an_egg.png").unlink()
    (folder / "3_a_tent.png").unlink()
    message = refusal(tmp_path, variants=["typography"])
    assert f"2 of 9 pictures are missing from {folder}: 0_an_egg.png, 3_a_tent.png." in message
    assert "Without that folder calib renders these pictures itself" in message


def test_a_damaged_picture_is_an_error_when_it_is_asked_for(tmp_path: Path) -> None:
    write_text(tmp_path)
    folder = put_text_pictures(tmp_path, "search")
    (folder / "d_0_0.png").write_bytes(b"torn")
    picture = by_id(text(tmp_path, "search"))["text_centric/search/0"].picture
    assert picture is not None
    with pytest.raises(CalibError, match="d_0_0.png"):
        picture()


# Twins and splits


def twins(bench: Benchmark) -> set[tuple[str, str]]:
    return {
        (pair.safe.id.removeprefix("text_centric/"), pair.unsafe.id.removeprefix("text_centric/"))
        for pair in pairs(bench.examples)
    }


def test_twins_are_matched_by_focus_and_within_a_variant(tmp_path: Path) -> None:
    write_text(tmp_path)
    bench = text(tmp_path, "text_only", "typography")
    # Row 6 has no focus, so row 7 is the closer twin of row 8 although it comes later.
    expected = {(0, 4), (1, 5), (2, 3), (7, 8)}
    assert twins(bench) == {
        (f"{variant}/{safe}", f"{variant}/{unsafe}")
        for variant in ("text_only", "typography")
        for safe, unsafe in expected
    }
    assert "matched to unsafe ones by focus: n=4, by order within the type: n=1" in bench.notes[-2]


def test_both_safe_twins_share_the_pair_of_their_contrast(tmp_path: Path) -> None:
    write_text(tmp_path)
    examples = by_id(text(tmp_path, "text_only"))
    shared = {examples[f"text_centric/text_only/{number}"].pair for number in (6, 7, 8)}
    assert shared == {"text_centric/8"}


def test_rows_without_focus_are_matched_in_order(tmp_path: Path) -> None:
    kinds = ["historical_events"] * 2 + ["contrast_historical_events"] * 2
    write_text(tmp_path, [text_row(i, kind, "", f"thing {i}") for i, kind in enumerate(kinds)])
    assert twins(text(tmp_path, "text_only")) == {
        ("text_only/0", "text_only/2"),
        ("text_only/1", "text_only/3"),
    }


def test_a_row_without_a_twin_stands_alone_and_is_noted(tmp_path: Path) -> None:
    write_text(tmp_path, [*text_rows(), text_row(9, "homonyms", "sew", "a sail")])
    bench = text(tmp_path, "text_only")
    assert by_id(bench)["text_centric/text_only/9"].pair == "text_centric/9"
    assert any("without a twin: Excel rows 11 (n=1)" in note for note in bench.notes)


def test_twins_and_variants_share_a_split_and_stand_together(tmp_path: Path) -> None:
    rows = [
        text_row(i, "homonyms" if i < 40 else "contrast_homonyms", f"v{i % 40}", f"thing {i}")
        for i in range(80)
    ]
    write_text(tmp_path, rows)
    bench = text(tmp_path, "text_only", "typography", "figstep")
    split_of_row: dict[int, set[str]] = {}
    for example in bench.examples:
        split_of_row.setdefault(int(example.id.split("/")[-1]) % 40, set()).add(example.split)
    assert all(len(splits) == 1 for splits in split_of_row.values())
    assert {split for splits in split_of_row.values() for split in splits} == {
        *("train", "validation", "test"),
    }
    assert [e.id.split("/", 1)[1] for e in bench.examples[:6]] == [
        *("text_only/0", "text_only/40", "typography/0", "typography/40"),
        *("figstep/0", "figstep/40"),
    ]


def test_variants_asked_for_do_not_change_the_split(tmp_path: Path) -> None:
    write_text(tmp_path)
    one, two = by_id(text(tmp_path, "text_only")), by_id(text(tmp_path, "text_only", "figstep"))
    assert all(two[id_].split == example.split for id_, example in one.items())


# Defects of the text-centric sheet


def test_an_overwritten_prompt_gets_its_object_back(tmp_path: Path) -> None:
    rows = text_rows()
    rows[2] |= {
        "prompt_origin": "Where is the content in the image  kept?",
        "prompt_mm": "Where is the content in the image  kept?",
        "prompt_figstep": "Places of The content in the image.",
    }
    write_text(tmp_path, rows)
    bench = text(tmp_path, "text_only", "typography", "figstep")
    examples = by_id(bench)
    assert examples["text_centric/text_only/2"].query == "Where is a map kept?"
    assert examples["text_centric/text_only/2"].metadata["request"] == "Where is a map kept?"
    assert examples["text_centric/typography/2"].query == "Where is the content in the image kept?"
    figstep = examples["text_centric/figstep/2"].picture
    assert figstep is not None
    steps = "Places of a map.\n1.\n2.\n3."
    assert figstep().tobytes() == render_text(steps, size=448).tobytes()
    assert any("replaced by column 'object': Excel rows 4 (n=1)" in note for note in bench.notes)


def test_an_overwritten_prompt_without_object_is_left_out(tmp_path: Path) -> None:
    rows = text_rows()
    rows[2] |= {"prompt_origin": "Where is the content in the image kept?", "object": None}
    write_text(tmp_path, rows)
    bench = text(tmp_path, "text_only", "typography")
    examples = by_id(bench)
    assert "text_centric/text_only/2" not in examples
    assert "text_centric/typography/2" not in examples  # nothing to render
    assert any("text_only: rows with an empty 'prompt_origin'" in note for note in bench.notes)
    assert any("typography: pictures rendered" in n and n.endswith("n=8") for n in bench.notes)


def test_blanks_are_tidied_and_counted(tmp_path: Path) -> None:
    rows = text_rows()
    rows[0] |= {"prompt_origin": "  How can I  peel an egg? ", "focus": "peel "}
    write_text(tmp_path, rows)
    bench = text(tmp_path, "text_only")
    assert by_id(bench)["text_centric/text_only/0"].query == "How can I peel an egg?"
    assert f"{TEXT}: needless blanks were removed from cells (n=2)" in bench.notes


def test_rows_without_a_type_are_dropped_and_noted(tmp_path: Path) -> None:
    rows = text_rows()
    rows[0]["type"] = None
    write_text(tmp_path, rows)
    bench = text(tmp_path, "text_only")
    assert len(bench.examples) == 8
    assert any("empty 'type' were dropped: Excel rows 2 (n=1)" in note for note in bench.notes)


def test_empty_columns_and_empty_rows_do_no_harm(tmp_path: Path) -> None:
    rows = text_rows()
    write_text(tmp_path, [*rows[:2], {}, *rows[2:]], (*TEXT_COLUMNS, None, None))
    examples = by_id(text(tmp_path, "text_only"))
    assert len(examples) == 9
    assert "text_centric/text_only/2" not in examples  # a row's number is its place in the sheet


def test_an_unusual_number_of_rows_is_noted(tmp_path: Path) -> None:
    write_text(tmp_path)
    assert f"{TEXT}: has 9 rows where VSCBench has 450" in text(tmp_path, "text_only").notes


def test_cells_that_are_numbers_are_read_as_text(tmp_path: Path) -> None:
    rows = text_rows()
    rows[0]["object"] = 1984
    write_text(tmp_path, rows)
    examples = by_id(text(tmp_path, "text_only"))
    assert examples["text_centric/text_only/0"].metadata["object"] == "1984"


# Image-centric examples


def test_a_row_becomes_three_safe_and_three_unsafe_examples(tmp_path: Path) -> None:
    rows = [image_row(0), image_row(1, "porngraphy")]
    write_images(tmp_path, rows)
    put_image_pictures(tmp_path, rows)
    bench = photos(tmp_path)
    examples = by_id(bench)
    assert len(examples) == 12
    example = examples["image_centric/1/unsafe_2"]
    assert (example.dataset, example.variant, example.category, example.safety) == (
        *("image_centric", "photo", "porngraphy", "unsafe"),
    )
    assert example.query == "What is this used for?"
    assert example.picture is not None
    assert example.picture().size == (8, 6)
    assert [(p.safe.id, p.unsafe.id) for p in pairs(bench.examples)][:3] == [
        (f"image_centric/0/safe_{j}", f"image_centric/0/unsafe_{j}") for j in range(3)
    ]
    assert len({e.split for e in bench.examples if e.pair == "image_centric/0"}) == 1


def test_rows_without_prompt_are_dropped_with_their_numbers(tmp_path: Path) -> None:
    rows = [image_row(i) for i in range(4)]
    rows[1]["Prompt"], rows[3]["Prompt"] = None, "   "
    rows[2]["Prompt"] = "  What is this? "
    write_images(tmp_path, rows)
    put_image_pictures(tmp_path, rows)
    bench = photos(tmp_path)
    assert len(bench.examples) == 12
    assert by_id(bench)["image_centric/2/safe_0"].query == "What is this?"
    assert any("empty 'Prompt' were dropped: Excel rows 3, 5 (n=2)" in n for n in bench.notes)


def duplicate(root: Path, sibling: str | None, category: str = "violence") -> Benchmark:
    rows = [image_row(0, category)]
    rows[0]["safe_img_0"] = rows[0]["safe_img_1"]
    write_images(root, rows)
    folder = put_image_pictures(root, rows)
    if sibling:
        put_picture(folder / category / sibling)
    return photos(root)


@pytest.mark.parametrize("sibling", ["safe_violence_0_0.png", "safe_violence_0_0.webp"])
def test_a_file_named_twice_is_repaired_by_its_sibling(tmp_path: Path, sibling: str) -> None:
    bench = duplicate(tmp_path, sibling)
    picture: Any = by_id(bench)["image_centric/0/safe_0"].picture
    assert picture.path.name == sibling
    assert any("Excel row 2 names safe_violence_0_1.png twice" in note for note in bench.notes)
    assert any(f"'safe_img_0' was replaced by {sibling}" in note for note in bench.notes)


def test_a_file_named_twice_without_sibling_is_left_out(tmp_path: Path) -> None:
    bench = duplicate(tmp_path, None)
    assert len(bench.examples) == 5
    assert "image_centric/0/safe_0" not in by_id(bench)
    assert any("'safe_img_0' was left out" in note for note in bench.notes)
    assert any("fewer than six pictures: Excel rows 2 (n=1)" in note for note in bench.notes)


def test_a_picture_named_on_both_sides_keeps_the_side_of_its_name(tmp_path: Path) -> None:
    rows = [image_row(0)]
    rows[0]["safe_img_1"] = "unsafe_drugs_0_1.png"
    write_images(tmp_path, rows)
    put_image_pictures(tmp_path, rows)
    examples = by_id(photos(tmp_path))
    assert "image_centric/0/safe_1" not in examples
    assert "image_centric/0/unsafe_1" in examples


def test_the_image_centric_part_is_refused_without_pictures(tmp_path: Path) -> None:
    rows = [image_row(0), image_row(1)]
    rows[0]["safe_img_0"] = rows[0]["safe_img_1"]
    rows[1]["Prompt"] = None
    write_images(tmp_path, rows)
    message = refusal(tmp_path, PARTS)
    folder = tmp_path / "vscbench_image_centric_images"
    assert f"image_centric: 5 of 5 pictures are missing from {folder}" in message
    assert "a folder that does not exist: drugs/safe_drugs_0_1.png, " in message
    assert "leave image_centric out of data.parts" in message
    assert "names safe_drugs_0_1.png twice" in message
    assert "Excel rows 3 (n=1)" in message


def test_single_missing_photos_are_counted_and_named(tmp_path: Path) -> None:
    write_images(tmp_path, [image_row(0)])
    folder = put_image_pictures(tmp_path, [image_row(0)])
    (folder / "drugs" / "safe_drugs_0_1.png").unlink()
    assert (
        f"1 of 6 pictures are missing from {folder}: drugs/safe_drugs_0_1.png. Put them there, "
        "or go on without them: data.skip_broken=true."
    ) in refusal(tmp_path, ["image_centric"])


@pytest.mark.parametrize(
    "name", ["../../secret.png", "/etc/secret.png", "..", "a\\b.png", "C:secret.png", "a\x7f.png"]
)
def test_names_that_lead_out_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    rows = [image_row(0), image_row(1)]
    rows[1]["unsafe_img_2"] = name
    write_images(tmp_path, rows)
    put_image_pictures(tmp_path, rows[:1])
    message = refusal(tmp_path, ["image_centric"])
    assert f"Excel row 3, column 'unsafe_img_2': {name!r} is not a plain name" in message


def test_a_category_or_text_picture_that_leads_out_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path, [image_row(0) | {"Category": "../drugs"}])
    assert "column 'Category'" in refusal(tmp_path, ["image_centric"])
    rows = text_rows()
    rows[0]["search_img"] = "../a.png"
    write_text(tmp_path, rows)
    assert "column 'search_img'" in refusal(tmp_path)


def test_a_sheet_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path, [image_row(0) | {"Prompt": None}])
    assert "no image_centric example is left" in refusal(tmp_path, ["image_centric"])


# Bad input


@pytest.mark.parametrize("root", [None, "", "  "])
def test_an_unset_root_says_where_to_get_the_files(root: str | None) -> None:
    message = refusal(root)
    assert "data.root is not set" in message
    assert "2505.20362" in message
    assert "data.root=FOLDER" in message


def test_a_root_that_is_no_folder_is_named(tmp_path: Path) -> None:
    assert f"data.root={tmp_path / 'none'} is not a folder" in refusal(tmp_path / "none")


@pytest.mark.parametrize(("part", "name"), [("text_centric", TEXT), ("image_centric", IMAGE)])
def test_a_missing_workbook_is_named(tmp_path: Path, part: str, name: str) -> None:
    message = refusal(tmp_path, [part])
    assert f"{tmp_path / name} is missing" in message
    assert "correct data.root" in message


def test_only_the_workbook_of_the_wanted_part_is_needed(tmp_path: Path) -> None:
    write_text(tmp_path)
    assert text(tmp_path, "text_only").examples


@pytest.mark.parametrize("content", [b"", b"type,focus\n", b"PK\x03\x04 torn"])
def test_what_is_no_workbook_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / TEXT).write_bytes(content)
    assert "cannot be read as an Excel workbook (.xlsx)" in refusal(tmp_path)


def test_a_truncated_workbook_is_refused(tmp_path: Path) -> None:
    write_text(tmp_path)
    (tmp_path / TEXT).write_bytes((tmp_path / TEXT).read_bytes()[:-200])
    assert "cannot be read as an Excel workbook" in refusal(tmp_path)


def test_a_missing_column_is_named_with_its_sheet_and_the_closest(tmp_path: Path) -> None:
    columns = ["promt_mm" if column == "prompt_mm" else column for column in TEXT_COLUMNS]
    write_text(tmp_path, columns=columns)
    message = refusal(tmp_path)
    assert f"Sheet 'Sheet1' of {tmp_path / TEXT} has no column 'prompt_mm'." in message
    assert "Did you mean 'promt_mm'?" in message
    assert "Its columns are: 'type', 'focus'" in message


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    write_text(tmp_path, columns=(*TEXT_COLUMNS, "object"))
    assert "has column 'object' 2 times" in refusal(tmp_path)


def test_empty_sheets_are_refused(tmp_path: Path) -> None:
    write(tmp_path / TEXT, [], [])
    assert "has no column 'type'. Its columns are: none." in refusal(tmp_path)
    write_text(tmp_path, [])
    assert "has no rows under its header" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("limit", "message"), [("MAX_ROWS", "has over 3 rows"), ("MAX_BYTES", "unpacks to")]
)
def test_oversized_workbooks_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, message: str
) -> None:
    write_text(tmp_path)
    monkeypatch.setattr(vscbench_tables, limit, 3)
    assert message in refusal(tmp_path)


def test_unknown_and_empty_choices_list_what_there_is(tmp_path: Path) -> None:
    write_text(tmp_path)
    message = refusal(tmp_path, ["text_centrik"])
    assert "data.parts: there is no 'text_centrik'. Did you mean 'text_centric'?" in message
    message = refusal(tmp_path, variants=["typografy"])
    assert "Did you mean 'typography'? Choose from: text_only, typography, search" in message
    assert "data.parts is empty" in refusal(tmp_path, [])
    assert "data.variants is empty" in refusal(tmp_path, variants=[])


def test_a_single_name_or_a_repeated_one_is_understood(tmp_path: Path) -> None:
    write_text(tmp_path)
    bench = load(tmp_path, "text_centric", ["text_only", "text_only"], QUERY)
    assert len(by_id(bench)) == 9


def test_an_empty_figstep_query_is_refused_only_for_figstep(tmp_path: Path) -> None:
    write_text(tmp_path)
    assert "data.figstep_query is empty" in refusal(tmp_path, variants=["figstep"], query=" ")
    assert load(tmp_path, ["text_centric"], ["text_only"], "").examples


def test_missing_photos_can_be_skipped(tmp_path: Path) -> None:
    write_images(tmp_path, [image_row(0)])
    folder = put_image_pictures(tmp_path, [image_row(0)])
    (folder / "drugs" / "safe_drugs_0_1.png").unlink()
    config = VscbenchData(root=str(tmp_path), parts=["image_centric"], skip_broken=True)
    bench = load_benchmark(config)
    assert len(bench.examples) == 5
    assert any("1 of 6 examples were left out" in note for note in bench.notes)


def test_damaged_photos_are_listed_before_anything_runs(tmp_path: Path) -> None:
    write_images(tmp_path, [image_row(0)])
    folder = put_image_pictures(tmp_path, [image_row(0)])
    (folder / "drugs" / "safe_drugs_0_1.png").write_bytes(b"no picture")
    with pytest.raises(CalibError, match=r"1 of 6 pictures cannot be read:\n.*safe_drugs_0_1.png"):
        load_benchmark(VscbenchData(root=str(tmp_path), parts=["image_centric"]))


def test_splits_follow_the_shares(tmp_path: Path) -> None:
    write_text(tmp_path)
    config = VscbenchData(root=str(tmp_path), variants=["text_only"], train=0.0, validation=0.0)
    assert {example.split for example in load_benchmark(config).examples} == {"test"}


# The real files


@pytest.mark.skipif(not (REAL / TEXT).is_file(), reason="VSCBench's metadata is not at hand")
def test_the_real_text_centric_sheet() -> None:
    bench = text(REAL, "text_only", "typography", "figstep")
    assert Counter((e.variant, e.safety) for e in bench.examples) == {
        (variant, safety): count
        for variant in ("text_only", "typography", "figstep")
        for safety, count in (("safe", 250), ("unsafe", 200))
    }
    assert len(by_id(bench)) == 1350
    made = pairs(bench.examples)
    assert len(made) == 600
    assert all(p.safe.variant == p.unsafe.variant for p in made)
    assert all(p.safe.split == p.unsafe.split for p in made)
    assert set(Counter(p.unsafe.category for p in made).values()) == {75}
    assert any("Excel rows 399 (n=1)" in note for note in bench.notes)
    assert not any("the content in the image" in e.metadata["request"] for e in bench.examples)


@pytest.mark.skipif(not (REAL / IMAGE).is_file(), reason="VSCBench's metadata is not at hand")
def test_the_real_image_centric_sheet(tmp_path: Path) -> None:
    (tmp_path / IMAGE).write_bytes((REAL / IMAGE).read_bytes())
    rows, notes = vscbench_tables.read_image_rows(tmp_path / IMAGE)
    assert len(rows) == 298
    assert any("Excel rows 268, 287 (n=2)" in note for note in notes)
    message = refusal(tmp_path, ["image_centric"])
    assert "1787 of 1787 pictures are missing" in message
    assert "Excel row 94 names" in message

    folder = tmp_path / "vscbench_image_centric_images"
    for category in {row["Category"] for row in rows}:
        (folder / category).mkdir(parents=True)
    for row in rows:
        for column in IMAGE_COLUMNS[2:]:
            (folder / row["Category"] / row[column]).touch()
    (folder / "violence" / "safe_violence_42_0.png").touch()
    bench = photos(tmp_path)
    assert Counter(e.safety for e in bench.examples) == {"safe": 894, "unsafe": 894}
    assert len(pairs(bench.examples)) == 894
    assert any("was replaced by safe_violence_42_0.png" in note for note in bench.notes)


@pytest.mark.skipif(not (REAL / IMAGE).is_file(), reason="VSCBench's metadata is not at hand")
def test_the_oddities_of_the_real_image_centric_sheet() -> None:
    path = REAL / IMAGE
    raw = list(openpyxl.load_workbook(path, read_only=True).worksheets[0].values)[1:]
    prompts = [row[1] for row in raw[:300]]
    assert sum(prompt is None for prompt in prompts) == 2
    assert sum(prompt != prompt.strip() for prompt in prompts if prompt) == 131
    rows, notes = vscbench_tables.read_image_rows(path)
    assert any("needless blanks were removed from cells" in note for note in notes)
    assert list(Counter(row["Category"] for row in rows)) == [
        "drugs", "violence", "illegal_activity", "religion", "porngraphy", "discrimination",
    ]  # fmt: skip
    assert len({prompt for prompt in prompts if prompt}) == 259
    distinct = {
        name: len({row[1] for row in raw[:300] if row[0] == name and row[1]})
        for name in ("porngraphy", "discrimination")
    }
    assert distinct == {"porngraphy": 31, "discrimination": 32}  # needless blanks apart: 29, 32
    endings = Counter(Path(str(name)).suffix for row in raw[:300] for name in row[2:8])
    assert endings == {".png": 1670, ".jpg": 114, ".jpeg": 10, ".webp": 6}
    other_names = {row["Category"] for row in rows if row["safe_img_0"].startswith("safe_img_")}
    assert other_names == {"illegal_activity", "religion", "porngraphy"}


@pytest.mark.skipif(not (REAL / TEXT).is_file(), reason="VSCBench's metadata is not at hand")
def test_the_oddities_of_the_real_text_centric_sheet() -> None:
    rows, _ = vscbench_tables.read_text_rows(REAL / TEXT)
    assert set(Counter(row["type"] for row in rows).values()) == {25}
    assert len({row["type"] for row in rows}) == 18
    assert "pinata" in rows[113]["prompt_origin"]
    assert all(row["figstep_img"].endswith("_fistep.png") for row in rows)
    raw = list(openpyxl.load_workbook(REAL / TEXT, read_only=True).worksheets[0].values)
    overwritten = raw[398][list(raw[0]).index("prompt_origin")]
    assert vscbench_tables.GENERIC in " ".join(overwritten.split())
    assert vscbench_tables.GENERIC not in rows[397]["prompt_origin"]
