"""MM-SafetyBench: the repository's files, the hub's tables, and what is asked beside a picture."""

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
    words = {
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
            for split, column in words.items()
        }
        for scenario in SCENARIOS
    }


def test_each_variant_asks_its_question_beside_its_picture(clone, load, colour):
    variants = ["text_only", "sd", "typography", "sd_typography"]
    bench = load("mm_safetybench", root=clone, subsets=["Sex"], variants=variants)
    shown = {e.variant: e for e in bench.examples if e.id.endswith("/1")}
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
    assert {(e.dataset, e.safety, e.category) for e in bench.examples} == {
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
    told = [
        [
            (e.id, e.query, e.split, e.pair, e.metadata, e.picture and colour(e))
            for e in bench.examples
        ]
        for bench in benches
    ]
    assert len(told[0]) == 12
    assert told[0] == told[1] == told[2]


def test_pictures_that_are_not_there_are_refused_unless_none_is_shown(clone, refusal, load, write):
    write(clone / "data/processed_questions/01-Illegal_Activitiy.json", {"0": question(0)})
    message = refusal("mm_safetybench", root=clone, subsets=["Illegal_Activitiy"])
    assert "no pictures data/imgs/01-Illegal_Activitiy" in message
    settings = {"subsets": ["Illegal_Activitiy"], "variants": ["text_only"]}
    (example,) = load("mm_safetybench", root=clone, train=0.0, validation=1.0, **settings).examples
    assert example.split == "validation"


def test_an_empty_question_is_left_out_of_its_variant_only(clone, load, write):
    empty = {**question(0), "Rephrased Question(SD)": ""}
    write(clone / "data/processed_questions/07-Sex.json", {"0": empty, "1": question(1)})
    bench = load("mm_safetybench", root=clone, subsets=["Sex"], variants=["sd", "typography"])
    assert [e.id for e in bench.examples] == ["Sex/sd/1", "Sex/typography/0", "Sex/typography/1"]
    assert any("(sd): rows with an empty 'Rephrased Question(SD)'" in n for n in bench.notes)


def test_an_unknown_variant_is_refused_with_the_nearest(refusal):
    message = refusal("mm_safetybench", variants=["SD_TYPO", "sd"])
    assert "'SD_TYPO' is not one of text_only, sd, typography, sd_typography" in message


def test_a_scenario_is_spelt_as_in_the_files(refusal):
    message = refusal("mm_safetybench", subsets=["Illegal_Activity"])
    assert "Did you mean 'Illegal_Activitiy'?" in message


def test_a_column_of_the_repository_that_is_missing_is_named(clone, refusal, write):
    rows = {"0": {k: v for k, v in question(0).items() if k != "Changed Question"}}
    write(clone / "data/processed_questions/07-Sex.json", rows)
    message = refusal("mm_safetybench", root=clone, subsets=["Sex"])
    assert "no column 'Changed Question'" in message
