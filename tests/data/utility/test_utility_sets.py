"""Every utility set from a local copy and from the hub's layout through datasets."""

import json

import pytest
from utility_tables import write_copy

from calib.config.data import PublishedUtility
from calib.config.schemas import CONF
from calib.data.benchmarks import load_utility
from calib.data.example import Benchmark, fingerprint
from calib.data.utility import names
from calib.scoring.answers import is_correct_answer

PROMPT = "Answer with the option's letter from the settings choices directly."
SETTINGS = {
    "mme": {"split": "test"},
    "pope": {"split": "test", "prompt": "Answer the question using a single word or phrase."},
    "scienceqa": {"split": "test", "subsets": ["ScienceQA-IMG"], "prompt": PROMPT},
    "mmstar": {"split": "val", "prompt": PROMPT[:-1]},
    "mmmu": {"split": "validation", "subsets": ["Art", "Math"], "prompt": f"\n\n{PROMPT}"},
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    # The tables of the tests are small: no note says that rows are missing.
    monkeypatch.setattr("calib.data.utility.question.size_note", lambda *_: [])


@pytest.fixture(params=["root", "hub"])
def loaded(request, tmp_path):
    def load(name: str, **changes):
        copy = str(write_copy(tmp_path / "copy", name))
        settings = SETTINGS[name] | {request.param: copy} | changes
        return load_utility(PublishedUtility(name=name, **settings))

    return load


def colour(example) -> tuple[int, ...]:
    return example.picture().convert("RGB").getpixel((0, 0))


def assert_skipped(benchmark: Benchmark, name: str, count: str, notes: int) -> None:
    """Every note states that ``count`` questions were skipped, each for another reason."""
    assert len(set(benchmark.notes)) == notes
    assert all(note.startswith(f"{name}: ") and count in note for note in benchmark.notes)


RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)


def test_all_sets_are_discovered_by_name():
    assert set(SETTINGS) <= set(names())
    assert all((CONF / "utility" / f"{name}.yaml").is_file() for name in names())


def test_mme(loaded):
    benchmark = loaded("mme")
    first, second = benchmark.examples[:2]
    assert benchmark.notes == []
    assert [e.id for e in benchmark.examples] == [
        "mme/color/color/0001.png/0",
        "mme/color/color/0001.png/1",
        "mme/color/color/0002.png/0",
        "mme/color/color/0002.png/1",
        "mme/code_reasoning/code_reasoning/0001.png/0",
        "mme/code_reasoning/code_reasoning/0001.png/1",
    ]
    assert (first.dataset, first.variant, first.category) == ("utility", "color", "perception")
    assert benchmark.examples[-1].category == "cognition"
    assert first.query == "Is the square red? Please answer yes or no."
    assert [e.answer for e in benchmark.examples] == ["yes", "no"] * 3
    assert first.metadata == {"kind": "yes_no"} and first.safety is None
    assert first.pair == second.pair == "mme/color/color/0001.png"
    assert first.picture is second.picture
    assert [colour(e) for e in benchmark.examples] == [RED, RED, BLUE, BLUE, WHITE, WHITE]
    assert is_correct_answer(first, "Yes, it is.", exact=False) and is_correct_answer(
        second, "No.", exact=True
    )


def test_the_prompt_replaces_the_instruction_of_mme(loaded):
    benchmark = loaded("mme", prompt="Answer the question using a single word or phrase.")
    assert benchmark.examples[0].query == (
        "Is the square red?\nAnswer the question using a single word or phrase."
    )


def test_pope(loaded):
    benchmark = loaded("pope")
    assert [e.id for e in benchmark.examples] == [
        "pope/random/1",
        "pope/random/2",
        "pope/popular/1",
        "pope/popular/2",
    ]
    assert [e.variant for e in benchmark.examples] == ["random", "random", "popular", "popular"]
    assert [e.pair for e in benchmark.examples] == ["pope/photo_1"] * 3 + ["pope/photo_2"]
    assert [e.answer for e in benchmark.examples] == ["yes", "no", "yes", "no"]
    assert benchmark.examples[0].query == (
        "Is there a cup in the image?\nAnswer the question using a single word or phrase."
    )
    assert [colour(e) for e in benchmark.examples] == [RED, RED, RED, BLUE]
    assert benchmark.examples[0].picture is benchmark.examples[2].picture


def test_scienceqa(loaded):
    benchmark = loaded("scienceqa")
    first, second = benchmark.examples
    assert (first.id, second.id) == ("scienceqa/0", "scienceqa/2")
    assert first.query == (
        f"Context: Look at\nthe square.\nWhich colour is it?\nA. red\nB. green\n{PROMPT}"
    )
    assert second.query == f"How many squares are there?\nA. one\nB. two\nC. three\n{PROMPT}"
    assert (first.answer, second.answer) == ("B", "A")
    assert (first.variant, first.category, first.pair) == ("natural science", "physics", None)
    assert json.loads(first.metadata["options"]) == {"A": "red", "B": "green"}
    assert is_correct_answer(first, "green", exact=False) and not is_correct_answer(
        first, "A", exact=False
    )
    assert (colour(first), colour(second)) == (GREEN, BLUE)
    assert_skipped(benchmark, "scienceqa", "1 of 4", notes=2)


def test_mmstar(loaded):
    benchmark = loaded("mmstar")
    first, second = benchmark.examples
    assert (first.id, second.id) == ("mmstar/0", "mmstar/1")
    assert (first.variant, first.category) == ("fine-grained perception", "localization")
    assert json.loads(first.metadata["options"]) == {
        "A": "On the table.",
        "B": "Under it, or near.",
        "C": "In the box.",
        "D": "Nowhere.",
    }
    assert json.loads(second.metadata["options"]) == {"A": "1", "B": "2", "C": "3"}
    assert first.query.endswith("C: In the box., D: Nowhere.\n" + PROMPT[:-1])
    assert second.query.count("(B) 2") == 1
    assert (first.answer, second.answer) == ("B", "C")
    assert_skipped(benchmark, "mmstar", "1 of 3", notes=1)


def test_mmmu(loaded):
    benchmark = loaded("mmmu")
    art, math = benchmark.examples
    assert (art.id, math.id) == ("mmmu/validation_Art_1", "mmmu/validation_Math_1")
    assert (art.variant, art.category) == ("Art", "Art and Design")
    assert (math.variant, math.category) == ("Math", "Science")
    assert art.query == f"Who drew it?\nA. Ann\nB. Bo's\n\n{PROMPT}"
    assert math.query == f"In <image 1>, what is x?\nA. $6\nB. $7\n\n{PROMPT}"
    assert (colour(art), colour(math)) == (RED, BLUE)
    assert (art.answer, math.answer) == ("B", "A")
    assert_skipped(benchmark, "mmmu", "1 of 5", notes=3)


def test_mmmu_with_several_pictures(loaded):
    benchmark = loaded("mmmu", several_pictures=True)
    _, several, _ = benchmark.examples
    assert several.id == "mmmu/validation_Art_2"
    assert several.query == f"Who?\nA. <image 1>\nB. <image 2>\n\n{PROMPT}"
    assert [p().convert("RGB").getpixel((0, 0)) for p in several.pictures] == [RED, BLUE]
    assert_skipped(benchmark, "mmmu", "1 of 5", notes=2)


def test_mmmu_subsets_are_subjects(loaded):
    assert [e.variant for e in loaded("mmmu", subsets=["Math"]).examples] == ["Math"]


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_a_local_copy_and_the_hub_give_the_same_examples(name, tmp_path):
    copy = str(write_copy(tmp_path / "copy", name))
    local, hub = (
        load_utility(PublishedUtility(name=name, **SETTINGS[name], **{source: copy})).examples
        for source in ("root", "hub")
    )
    assert local

    def content(examples):
        return [(e.id, e.split, e.answer, e.metadata, fingerprint(e)) for e in examples]

    assert content(local) == content(hub)


def test_questions_about_a_picture_share_a_split(tmp_path):
    copy = str(write_copy(tmp_path, "mme"))
    config = PublishedUtility(name="mme", root=copy, validation=0.5)
    examples = load_utility(config, system="Be brief.").examples
    assert {e.split for e in examples} == {"validation", "test"}
    splits = {}
    for example in examples:
        splits.setdefault(example.pair, set()).add(example.split)
        assert example.system == "Be brief."
    assert all(len(split) == 1 for split in splits.values())
    test = load_utility(PublishedUtility(name="mme", root=copy, validation=0.0)).examples
    assert {e.split for e in test} == {"test"}


def test_a_limit_counts_questions_and_does_not_divide_pictures(tmp_path):
    copy = str(write_copy(tmp_path, "mme"))
    config = PublishedUtility(name="mme", root=copy, validation=0.0, limit=3)
    examples = load_utility(config).examples
    assert len(examples) == 2 and len({e.pair for e in examples}) == 1
