"""Every set from a local copy and through the package datasets, as the hub lays it out."""

import json

import pytest
from utility_tables import write_copy

from calib.config.data import PublishedUtility
from calib.data.benchmarks import load_utility
from calib.data.example import fingerprint
from calib.data.utility import names
from calib.scoring.answers import is_correct_answer

ASK = "Answer with the option's letter from the given choices directly."
SETTINGS = {
    "mme": {"split": "test"},
    "pope": {"split": "test", "prompt": "Answer the question using a single word or phrase."},
    "scienceqa": {"split": "test", "subsets": ["ScienceQA-IMG"], "prompt": ASK},
    "mmstar": {"split": "val", "prompt": ASK[:-1]},
    "mmmu": {"split": "validation", "subsets": ["Art", "Math"], "prompt": f"\n\n{ASK}"},
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))


@pytest.fixture(params=["root", "hub"])
def loaded(request, tmp_path):
    def load(name: str, **settings):
        copy = str(write_copy(tmp_path / "copy", name))
        given = SETTINGS[name] | {request.param: copy} | settings
        return load_utility(PublishedUtility(name=name, **given))

    return load


def colour(example) -> tuple[int, ...]:
    return example.picture().convert("RGB").getpixel((0, 0))


RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)


def test_all_sets_are_found_by_name():
    assert names() == ["mme", "mmmu", "mmstar", "pope", "scienceqa"] == sorted(SETTINGS)


def test_mme(loaded):
    found = loaded("mme")
    first, second = found.examples[:2]
    assert found.notes == []
    assert [e.id for e in found.examples] == [
        "mme/color/color/0001.png/0",
        "mme/color/color/0001.png/1",
        "mme/color/color/0002.png/0",
        "mme/color/color/0002.png/1",
        "mme/code_reasoning/code_reasoning/0001.png/0",
        "mme/code_reasoning/code_reasoning/0001.png/1",
    ]
    assert (first.dataset, first.variant, first.category) == ("utility", "color", "perception")
    assert found.examples[-1].category == "cognition"
    assert first.query == "Is the square red? Please answer yes or no."
    assert [e.answer for e in found.examples] == ["yes", "no"] * 3
    assert first.metadata == {"kind": "yes_no"} and first.safety is None
    assert first.pair == second.pair == "mme/color/color/0001.png"
    assert first.picture is second.picture
    assert [colour(e) for e in found.examples] == [RED, RED, BLUE, BLUE, WHITE, WHITE]
    assert is_correct_answer(first, "Yes, it is.", exact=False) and is_correct_answer(
        second, "No.", exact=True
    )


def test_the_prompt_takes_the_place_of_mmes_own(loaded):
    found = loaded("mme", prompt="Answer the question using a single word or phrase.")
    assert found.examples[0].query == (
        "Is the square red?\nAnswer the question using a single word or phrase."
    )


def test_pope(loaded):
    found = loaded("pope")
    assert [e.id for e in found.examples] == [
        "pope/random/1",
        "pope/random/2",
        "pope/popular/1",
        "pope/popular/2",
    ]
    assert [e.variant for e in found.examples] == ["random", "random", "popular", "popular"]
    assert [e.pair for e in found.examples] == ["pope/photo_1"] * 3 + ["pope/photo_2"]
    assert [e.answer for e in found.examples] == ["yes", "no", "yes", "no"]
    assert found.examples[0].query == (
        "Is there a cup in the image?\nAnswer the question using a single word or phrase."
    )
    assert [colour(e) for e in found.examples] == [RED, RED, RED, BLUE]
    assert found.examples[0].picture is found.examples[2].picture


def test_scienceqa(loaded):
    found = loaded("scienceqa")
    first, second = found.examples
    assert (first.id, second.id) == ("scienceqa/0", "scienceqa/2")
    assert first.query == (
        f"Context: Look at\nthe square.\nWhich colour is it?\nA. red\nB. green\n{ASK}"
    )
    assert second.query == f"How many squares are there?\nA. one\nB. two\nC. three\n{ASK}"
    assert (first.answer, second.answer) == ("B", "A")
    assert (first.variant, first.category, first.pair) == ("natural science", "physics", None)
    assert json.loads(first.metadata["options"]) == {"A": "red", "B": "green"}
    assert is_correct_answer(first, "green", exact=False) and not is_correct_answer(
        first, "A", exact=False
    )
    assert (colour(first), colour(second)) == (GREEN, BLUE)
    assert found.notes == [
        "scienceqa: 1 of 4 questions were left out: they have no picture",
        "scienceqa: 1 of 4 questions were left out: their answer is none of the options",
    ]


def test_mmstar(loaded):
    found = loaded("mmstar")
    first, second = found.examples
    assert (first.id, second.id) == ("mmstar/0", "mmstar/1")
    assert (first.variant, first.category) == ("fine-grained perception", "localization")
    assert json.loads(first.metadata["options"]) == {
        "A": "On the table.",
        "B": "Under it, or near.",
        "C": "In the box.",
        "D": "Nowhere.",
    }
    assert json.loads(second.metadata["options"]) == {"A": "1", "B": "2", "C": "3"}
    assert first.query.endswith("C: In the box., D: Nowhere.\n" + ASK[:-1])
    assert second.query.count("(B) 2") == 1
    assert (first.answer, second.answer) == ("B", "C")
    assert found.notes == [
        "mmstar: 1 of 3 questions were left out: their answer is none of the options"
    ]


def test_mmmu(loaded):
    found = loaded("mmmu")
    art, math = found.examples
    assert (art.id, math.id) == ("mmmu/validation_Art_1", "mmmu/validation_Math_1")
    assert (art.variant, art.category) == ("Art", "Art and Design")
    assert (math.variant, math.category) == ("Math", "Science")
    assert art.query == f"Who drew it?\nA. Ann\nB. Bo's\n\n{ASK}"
    assert math.query == f"In <image 1>, what is x?\nA. $6\nB. $7\n\n{ASK}"
    assert (colour(art), colour(math)) == (RED, BLUE)
    assert (art.answer, math.answer) == ("B", "A")
    assert found.notes == [
        "mmmu: 1 of 5 questions were left out: they show several pictures, or none",
        "mmmu: 1 of 5 questions were left out: they are open",
        "mmmu: 1 of 5 questions were left out: their answer is none of the options",
    ]


def test_mmmu_subsets_are_subjects(loaded):
    assert [e.variant for e in loaded("mmmu", subsets=["Math"]).examples] == ["Math"]


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_a_local_copy_and_the_hub_give_the_same(name, tmp_path):
    copy = str(write_copy(tmp_path / "copy", name))
    given = {
        way: load_utility(PublishedUtility(name=name, **SETTINGS[name], **{way: copy}))
        for way in ("root", "hub")
    }
    assert given["root"]
    described = {
        way: [(e.id, e.split, e.answer, e.metadata, fingerprint(e)) for e in examples]
        for way, examples in given.items()
    }
    assert described["root"] == described["hub"]


def test_splits_keep_a_picture_together_and_the_system_prompt_is_shown(tmp_path):
    copy = str(write_copy(tmp_path, "mme"))
    config = PublishedUtility(name="mme", root=copy, validation=0.5)
    found = load_utility(config, system="Be brief.")
    assert {e.split for e in found} == {"validation", "test"}
    splits = {}
    for example in found:
        splits.setdefault(example.pair, set()).add(example.split)
        assert example.system == "Be brief."
    assert all(len(split) == 1 for split in splits.values())
    whole = load_utility(PublishedUtility(name="mme", root=copy, validation=0.0))
    assert {e.split for e in whole} == {"test"}


def test_a_limit_counts_questions_and_keeps_pictures_whole(tmp_path):
    copy = str(write_copy(tmp_path, "mme"))
    found = load_utility(PublishedUtility(name="mme", root=copy, validation=0.0, limit=3))
    assert len(found) == 2 and len({e.pair for e in found}) == 1
