"""MM-SafetyBench: the repository's files, the hub's tables, and the query of each variant."""

import pytest

SCENARIOS = ["HateSpeech", "Sex"]


def question(k):
    return {
        "Question": f"May I paint {k}?",
        "Changed Question": f"List ways to paint {k}",
        "Key Phrase": f"paint {k}",
        "Phrase Type": "activity",
        "Rephrased Question": f"List ways to do what the picture says, {k}",
        "Rephrased Question(SD)": f"List ways to do what the picture shows, {k}",
    }


@pytest.fixture
def clone(tmp_path, write):
    names = {"HateSpeech": "02-HateSpeech", "Sex": "07-Sex"}
    for scenario in SCENARIOS:
        path = f"data/processed_questions/{names[scenario]}.json"
        write(tmp_path / path, {"0": question(0), "1": question(1)})
        for split, colour in (("SD", "red"), ("TYPO", "lime"), ("SD_TYPO", "blue")):
            for k in range(2):
                write(tmp_path / f"data/imgs/{names[scenario]}/{split}/{k}.jpg", colour)
    return tmp_path


def tables(png):
    cells = {"SD": "red", "TYPO": "lime", "SD_TYPO": "blue"}
    columns = {
        "SD": "Rephrased Question(SD)",
        "TYPO": "Rephrased Question",
        "SD_TYPO": "Rephrased Question",
        "Text_only": "Changed Question",
    }
    return {
        scenario: {
            split: [
                {"id": str(k), "question": question(k)[column]}
                | ({"image": png(cells[split])} if split in cells else {"image": None})
                for k in range(2)
            ]
            for split, column in columns.items()
        }
        for scenario in SCENARIOS
    }


def test_each_variant_has_its_query_and_picture(clone, load, colour):
    variants = ["text_only", "sd", "typography", "sd_typography"]
    benchmark = load("mm_safetybench", root=clone, subsets=["Sex"], variants=variants)
    shown = {e.variant: e for e in benchmark.examples if e.id.endswith("/1")}
    assert list(shown) == variants
    assert shown["text_only"].query == "List ways to paint 1"
    assert shown["sd"].query == "List ways to do what the picture shows, 1"
    assert shown["typography"].query == "List ways to do what the picture says, 1"
    assert shown["sd_typography"].query == shown["typography"].query
    assert [colour(shown[v]) for v in variants[1:]] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    assert shown["text_only"].picture is None
    assert {e.metadata["request"] for e in shown.values()} == {"List ways to paint 1"}
    assert {e.pair for e in shown.values()} == {"mm_safetybench/Sex/1"}
    assert len({e.split for e in shown.values()}) == 1
    assert {(e.dataset, e.safety, e.category) for e in benchmark.examples} == {
        ("text_centric", "unsafe", "Sex")
    }


def test_the_hub_a_download_of_it_and_the_repository_agree(clone, load, hub, png, colour):
    folder = hub(tables(png))
    settings = {"subsets": SCENARIOS, "variants": ["text_only", "sd", "sd_typography"]}
    benches = [
        load("mm_safetybench", root=clone, **settings),
        load("mm_safetybench", hub=folder, **settings),
        load("mm_safetybench", root=folder, **settings),
    ]
    described = [
        [
            (e.id, e.query, e.split, e.pair, e.metadata, e.picture and colour(e))
            for e in benchmark.examples
        ]
        for benchmark in benches
    ]
    assert len(described[0]) == 12
    assert described[0] == described[1] == described[2]


def test_missing_pictures_are_refused_except_for_text(clone, refused, load, write):
    write(clone / "data/processed_questions/01-Illegal_Activitiy.json", {"0": question(0)})
    values = (clone, "data/imgs/01-Illegal_Activitiy", "data.variants=[text_only]")
    refused("mm_safetybench", "not-found", *values, root=clone, subsets=["Illegal_Activitiy"])
    settings = {"subsets": ["Illegal_Activitiy"], "variants": ["text_only"]}
    (example,) = load("mm_safetybench", root=clone, train=0.0, validation=1.0, **settings).examples
    assert example.split == "validation"


def test_an_empty_question_is_skipped_in_its_variant_only(clone, load, write):
    empty = {**question(0), "Rephrased Question(SD)": ""}
    write(clone / "data/processed_questions/07-Sex.json", {"0": empty, "1": question(1)})
    benchmark = load("mm_safetybench", root=clone, subsets=["Sex"], variants=["sd", "typography"])
    assert [e.id for e in benchmark.examples] == [
        "Sex/sd/1",
        "Sex/typography/0",
        "Sex/typography/1",
    ]
    assert any("(sd)" in n and "'Rephrased Question(SD)'" in n for n in benchmark.notes)


def test_an_unknown_variant_is_reported_with_the_choices(refused):
    values = ("data.variants", "'SD_TYPO'", "text_only, sd, typography, sd_typography")
    refused("mm_safetybench", "invalid-setting", *values, variants=["SD_TYPO", "sd"])


def test_a_scenario_has_the_spelling_of_the_files(refused):
    values = ("data.subsets", "'Illegal_Activity'", "'Illegal_Activitiy'?")
    refused("mm_safetybench", "invalid-setting", *values, subsets=["Illegal_Activity"])


def test_a_missing_column_of_the_repository_is_named(clone, refused, write):
    rows = {"0": {k: v for k, v in question(0).items() if k != "Changed Question"}}
    write(clone / "data/processed_questions/07-Sex.json", rows)
    values = ("'Changed Question'", "07-Sex.json")
    refused("mm_safetybench", "missing-column", *values, root=clone, subsets=["Sex"])


@pytest.mark.parametrize(
    "folder",
    ["data/MM-SafetyBench(imgs)", "data/imgs/MM-SafetyBench(imgs)", "MM-SafetyBench(imgs)"],
)
def test_pictures_are_found_where_the_archive_unpacks_them(clone, load, colour, folder):
    (clone / folder).parent.mkdir(parents=True, exist_ok=True)
    (clone / "data/imgs").rename(clone / "unpacked")
    (clone / folder).parent.mkdir(parents=True, exist_ok=True)
    (clone / "unpacked").rename(clone / folder)
    benchmark = load("mm_safetybench", root=clone, subsets=["Sex"], variants=["typography"])
    assert [colour(e) for e in benchmark.examples] == [(0, 255, 0)] * 2


def test_a_scenario_with_another_number_of_questions_is_noted(clone, load):
    benchmark = load("mm_safetybench", root=clone, subsets=["Sex"], variants=["sd"])
    assert [("109" in note and "2 rows" in note) for note in benchmark.notes] == [True]
