"""Loading VSCBench: variants, pictures and settings."""

import pickle
from pathlib import Path
from typing import Any

import pytest
from raising import raises
from vscbench_workbooks import (
    QUERY,
    by_id,
    has_note,
    image_row,
    load_photos,
    load_text,
    put_image_pictures,
    put_picture,
    put_text_pictures,
    refused,
    text_rows,
    write_images,
    write_text,
)

from calib.config.data import VscbenchData
from calib.data import vscbench
from calib.data.benchmarks import load_benchmark
from calib.data.example import Benchmark, pairs
from calib.data.text_image import render_text
from calib.data.vscbench import PARTS, VARIANTS

# Text-centric examples


def test_each_variant_has_its_query_and_picture(tmp_path: Path) -> None:
    write_text(tmp_path)
    for variant in ("search", "concat"):
        put_text_pictures(tmp_path, variant)
    examples = by_id(load_text(tmp_path, *VARIANTS, system="Be careful."))
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


def test_typography_and_figstep_are_rendered_without_their_folders(
    tmp_path: Path,
) -> None:
    write_text(tmp_path)
    benchmark = load_text(tmp_path, "typography", "figstep")
    examples = by_id(benchmark)
    typography, figstep = (
        examples[f"text_centric/{v}/0"].picture for v in ("typography", "figstep")
    )
    assert typography is not None
    assert figstep is not None
    assert typography().tobytes() == render_text("an egg", size=448).tobytes()
    steps = "Steps to peel an egg.\n1.\n2.\n3."
    assert figstep().tobytes() == render_text(steps, size=448).tobytes()
    assert has_note(benchmark, "typography", "'object'", "n=9")
    assert has_note(benchmark, "figstep", "'prompt_figstep'", "n=9")


@pytest.mark.parametrize("variant", ["typography", "figstep"])
def test_present_folders_are_preferred_to_rendering(tmp_path: Path, variant: str) -> None:
    write_text(tmp_path)
    put_text_pictures(tmp_path, variant)
    benchmark = load_text(tmp_path, variant)
    assert {e.picture().size for e in benchmark.examples if e.picture} == {(8, 6)}
    assert not has_note(benchmark, variant)


def test_a_benchmark_can_be_pickled(tmp_path: Path) -> None:
    write_text(tmp_path)
    benchmark = load_text(tmp_path, "figstep")
    copy = pickle.loads(pickle.dumps(benchmark))
    assert copy.examples[0].picture().tobytes() == benchmark.examples[0].picture().tobytes()  # type: ignore[misc]


def test_search_and_concat_are_refused_together_without_their_pictures(tmp_path: Path) -> None:
    write_text(tmp_path)
    values = ["9 of 9", "data.variants"]
    for variant, first in (("search", "d_0_0.png"), ("concat", "0_concat.png")):
        values += [tmp_path / "vscbench_text_centric_images" / variant, first]
    refused(tmp_path, "not-found", *values, variants=["text_only", "search", "concat"])


def test_single_missing_pictures_are_counted_and_named(tmp_path: Path) -> None:
    write_text(tmp_path)
    folder = put_text_pictures(tmp_path, "typography")
    (folder / "0_an_egg.png").unlink()
    (folder / "3_a_tent.png").unlink()
    values = ("2 of 9", folder, "0_an_egg.png, 3_a_tent.png", "data.skip_broken=true")
    refused(tmp_path, "not-found", *values, variants=["typography"])


def test_a_damaged_picture_is_an_error_when_it_is_opened(tmp_path: Path) -> None:
    write_text(tmp_path)
    folder = put_text_pictures(tmp_path, "search")
    (folder / "d_0_0.png").write_bytes(b"torn")
    picture = by_id(load_text(tmp_path, "search"))["text_centric/search/0"].picture
    assert picture is not None
    with raises("unreadable", "d_0_0.png"):
        picture()


# Image-centric examples


def test_a_row_becomes_three_safe_and_three_unsafe_examples(tmp_path: Path) -> None:
    rows = [image_row(0), image_row(1, "porngraphy")]
    write_images(tmp_path, rows)
    put_image_pictures(tmp_path, rows)
    benchmark = load_photos(tmp_path)
    examples = by_id(benchmark)
    assert len(examples) == 12
    example = examples["image_centric/1/unsafe_2"]
    assert (example.dataset, example.variant, example.category, example.safety) == (
        *("image_centric", "photo", "porngraphy", "unsafe"),
    )
    assert example.query == "What is this used for?"
    assert example.picture is not None
    assert example.picture().size == (8, 6)
    assert [(p.safe.id, p.unsafe.id) for p in pairs(benchmark.examples)][:3] == [
        (f"image_centric/0/safe_{j}", f"image_centric/0/unsafe_{j}") for j in range(3)
    ]
    assert len({e.split for e in benchmark.examples if e.pair == "image_centric/0"}) == 1


def test_rows_without_a_prompt_are_skipped_with_their_numbers(tmp_path: Path) -> None:
    rows = [image_row(i) for i in range(4)]
    rows[1]["Prompt"], rows[3]["Prompt"] = None, "   "
    rows[2]["Prompt"] = "  What is this? "
    write_images(tmp_path, rows)
    put_image_pictures(tmp_path, rows)
    benchmark = load_photos(tmp_path)
    assert len(benchmark.examples) == 12
    assert by_id(benchmark)["image_centric/2/safe_0"].query == "What is this?"
    assert has_note(benchmark, "'Prompt'", "Excel rows 3, 5 (n=2)")


def duplicate(root: Path, sibling: str | None, category: str = "violence") -> Benchmark:
    rows = [image_row(0, category)]
    rows[0]["safe_img_0"] = rows[0]["safe_img_1"]
    write_images(root, rows)
    folder = put_image_pictures(root, rows)
    if sibling:
        put_picture(folder / category / sibling)
    return load_photos(root)


@pytest.mark.parametrize("sibling", ["safe_violence_0_0.png", "safe_violence_0_0.webp"])
def test_a_file_named_twice_is_repaired_by_its_sibling(tmp_path: Path, sibling: str) -> None:
    benchmark = duplicate(tmp_path, sibling)
    picture: Any = by_id(benchmark)["image_centric/0/safe_0"].picture
    assert picture.path.name == sibling
    assert has_note(benchmark, "Excel row 2", "safe_violence_0_1.png", "'safe_img_0'", sibling)


def test_a_file_named_twice_without_sibling_is_skipped(tmp_path: Path) -> None:
    benchmark = duplicate(tmp_path, None)
    assert len(benchmark.examples) == 5
    assert "image_centric/0/safe_0" not in by_id(benchmark)
    assert has_note(benchmark, "Excel row 2", "'safe_img_0'")
    assert has_note(benchmark, "six pictures", "Excel rows 2 (n=1)")


def test_a_picture_named_on_both_sides_keeps_the_side_of_its_name(tmp_path: Path) -> None:
    rows = [image_row(0)]
    rows[0]["safe_img_1"] = "unsafe_drugs_0_1.png"
    write_images(tmp_path, rows)
    put_image_pictures(tmp_path, rows)
    examples = by_id(load_photos(tmp_path))
    assert "image_centric/0/safe_1" not in examples
    assert "image_centric/0/unsafe_1" in examples


def test_the_image_centric_part_is_refused_without_pictures(tmp_path: Path) -> None:
    rows = [image_row(0), image_row(1)]
    rows[0]["safe_img_0"] = rows[0]["safe_img_1"]
    rows[1]["Prompt"] = None
    write_images(tmp_path, rows)
    folder = tmp_path / "vscbench_image_centric_images"
    values = ("5 of 5", folder, "drugs/safe_drugs_0_1.png, ", "data.parts", "Excel rows 3 (n=1)")
    refused(tmp_path, "not-found", *values, parts=list(PARTS))


def test_single_missing_photos_are_counted_and_named(tmp_path: Path) -> None:
    write_images(tmp_path, [image_row(0)])
    folder = put_image_pictures(tmp_path, [image_row(0)])
    (folder / "drugs" / "safe_drugs_0_1.png").unlink()
    values = ("1 of 6", folder, "drugs/safe_drugs_0_1.png", "data.skip_broken=true")
    refused(tmp_path, "not-found", *values, parts=["image_centric"])


@pytest.mark.parametrize(
    "name", ["../../secret.png", "/etc/secret.png", "..", "a\\b.png", "C:secret.png", "a\x7f.png"]
)
def test_names_that_lead_out_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    rows = [image_row(0), image_row(1)]
    rows[1]["unsafe_img_2"] = name
    write_images(tmp_path, rows)
    put_image_pictures(tmp_path, rows[:1])
    values = ("Excel row 3", "'unsafe_img_2'", repr(name))
    refused(tmp_path, "invalid-value", *values, parts=["image_centric"])


def test_a_category_or_text_picture_that_leads_out_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path, [image_row(0) | {"Category": "../drugs"}])
    refused(tmp_path, "invalid-value", "'Category'", parts=["image_centric"])
    rows = text_rows()
    rows[0]["search_img"] = "../a.png"
    write_text(tmp_path, rows)
    refused(tmp_path, "invalid-value", "'search_img'")


def test_a_sheet_without_usable_rows_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path, [image_row(0) | {"Prompt": None}])
    refused(tmp_path, "too-few", tmp_path, "image_centric", parts=["image_centric"])


# Settings


def test_an_unset_root_is_reported_with_the_source() -> None:
    refused(None, "missing-setting", "data.root=FOLDER", "2505.20362")


def test_a_root_that_is_not_a_folder_is_named(tmp_path: Path) -> None:
    refused(tmp_path / "none", "not-found", f"data.root={tmp_path / 'none'}")


def test_unknown_parts_and_variants_are_reported_with_the_choices(tmp_path: Path) -> None:
    write_text(tmp_path)
    values = ("data.parts", "'text_centrik'", "'text_centric'", ", ".join(PARTS))
    refused(tmp_path, "invalid-setting", *values, parts=["text_centrik"])
    values = ("data.variants", "'typografy'", "'typography'", ", ".join(VARIANTS))
    refused(tmp_path, "invalid-setting", *values, variants=["typografy"])


def test_a_repeated_variant_counts_once(tmp_path: Path) -> None:
    write_text(tmp_path)
    assert len(by_id(load_text(tmp_path, "text_only", "text_only"))) == 9


def test_an_empty_figstep_query_is_refused_only_for_figstep(tmp_path: Path) -> None:
    write_text(tmp_path)
    settings = {"variants": ["figstep"], "figstep_query": " "}
    refused(tmp_path, "missing-setting", "data.figstep_query", **settings)
    config = VscbenchData(root=str(tmp_path), variants=["text_only"], figstep_query="")
    assert vscbench.load(config).examples


def test_missing_photos_can_be_skipped(tmp_path: Path) -> None:
    write_images(tmp_path, [image_row(0)])
    folder = put_image_pictures(tmp_path, [image_row(0)])
    (folder / "drugs" / "safe_drugs_0_1.png").unlink()
    config = VscbenchData(root=str(tmp_path), parts=["image_centric"], skip_broken=True)
    benchmark = load_benchmark(config)
    assert len(benchmark.examples) == 5
    assert has_note(benchmark, "1 of 6 examples")


def test_damaged_photos_are_listed_before_anything_runs(tmp_path: Path) -> None:
    write_images(tmp_path, [image_row(0)])
    folder = put_image_pictures(tmp_path, [image_row(0)])
    (folder / "drugs" / "safe_drugs_0_1.png").write_bytes(b"no picture")
    with raises("unreadable", "1 of 6", "safe_drugs_0_1.png"):
        load_benchmark(VscbenchData(root=str(tmp_path), parts=["image_centric"]))


def test_splits_follow_the_shares(tmp_path: Path) -> None:
    write_text(tmp_path)
    config = VscbenchData(root=str(tmp_path), variants=["text_only"], train=0.0, validation=0.0)
    assert {example.split for example in load_benchmark(config).examples} == {"test"}
