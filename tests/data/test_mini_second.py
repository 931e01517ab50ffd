"""The second mini world: its tables, its pictures, and concepts that training holds out."""

import itertools
from collections import Counter

import numpy as np
import pytest
from PIL import ImageFont
from raising import raises
from refusal_scores import score

from calib.config.choices import PARTS, PERTURBATIONS
from calib.config.data import MiniData, UtilityConfig
from calib.data.benchmarks import load_benchmark, load_utility
from calib.data.example import Example, pairs
from calib.data.mini.draw import FONT_SIZE, SIZE, draw_object
from calib.data.mini.examples import load
from calib.data.mini.first.world import FIRST
from calib.data.mini.second.behaviour import SECOND_BEHAVIOUR
from calib.data.mini.second.drawings import DRAWINGS
from calib.data.mini.second.world import SECOND
from calib.data.mini.world import DANGER_ANSWERS, DANGER_QUESTION
from calib.data.mini.worlds import MINI_WORLDS, world_of
from calib.judges.rules import judge_rules
from experiments.mini_internvl.curriculum import Branch, Curriculum, PackedSequence
from experiments.mini_internvl.recipe import SECOND_RECIPE

HELD_OUT = [twin for twin in SECOND.twins if twin.split != "train"]
BEHAVIOUR = ("image_centric", "text_centric", "drawn", "typed")
LABELS = ("answer", "safe_completion", "refusal")


def loaded(split_by: str | None, **settings: int) -> list[Example]:
    return load(list(PARTS), split_by=split_by, world=SECOND, **settings)


@pytest.fixture(scope="module")
def by_concept() -> list[Example]:
    return loaded(None)


@pytest.fixture(scope="module")
def sequences() -> list[PackedSequence]:
    rng, second = np.random.default_rng(0), Curriculum(SECOND_RECIPE)
    return [second.sequence("mixture", rng) for _ in range(1500)]


def test_the_world_has_these_sizes() -> None:
    assert (len(SECOND.twins), len(SECOND.objects), len(SECOND.requests)) == (36, 72, 144)
    assert Counter(twin.split for twin in SECOND.twins) == {
        "train": 16, "validation": 4, "test": 16,
    }  # fmt: skip
    assert {twin.concept for twin in SECOND.requests} == {
        SECOND.concept(name) for name in SECOND.objects
    }


def test_hazards_and_materials_of_held_out_concepts_occur_in_training() -> None:
    trained = [SECOND.twin_of[name] for name in SECOND.trained_objects]
    assert {twin.category for twin in HELD_OUT} <= {twin.category for twin in trained}
    materials = {SECOND.materials[name] for name in SECOND.trained_objects}
    unknown = {
        name for twin in HELD_OUT for name in (twin.safe, twin.unsafe)
        if SECOND.materials[name] not in materials
    }  # fmt: skip
    assert unknown == {"flame"}


def test_the_words_are_distinct_and_fit_into_the_picture() -> None:
    words = [*SECOND.objects, *SECOND.translations.values()]
    assert len(set(words)) == len(words)
    font = ImageFont.load_default(FONT_SIZE)
    assert max(font.getlength(word) for word in words) <= SIZE + 4


def test_objects_of_both_worlds_have_one_latin_name() -> None:
    shared = FIRST.translations.keys() & SECOND.translations.keys()
    assert shared == set(FIRST.objects)
    assert all(FIRST.translations[name] == SECOND.translations[name] for name in shared)


def test_every_object_has_a_drawing_unlike_all_others() -> None:
    assert set(DRAWINGS) >= set(SECOND.objects)
    drawn = {
        name: np.asarray(draw_object(name, "red", "left", 5), dtype=np.int16)
        for name in SECOND.objects
    }
    for a, b in itertools.combinations(SECOND.objects, 2):
        different = np.abs(drawn[a] - drawn[b]).max(axis=2) > 40
        assert different.sum() > 60, (a, b)


def test_training_has_trained_concepts_and_the_other_splits_have_the_rest(
    by_concept: list[Example],
) -> None:
    of = {SECOND.concept(twin.safe): twin.split for twin in SECOND.twins}
    assert by_concept and all(of[e.concept or ""] == e.split for e in by_concept)
    assert {(e.dataset, e.split) for e in by_concept} == {
        (part, split) for part in PARTS for split in ("train", "validation", "test")
    }
    assert len(pairs(by_concept)) * 2 == len(by_concept)


def test_data_and_utility_of_each_world_are_those_that_its_name_loads() -> None:
    for name, world in MINI_WORLDS.items():
        queries = load_benchmark(MiniData(name, limit=12, parts=["image_centric"])).examples
        assert {example.metadata["object"] for example in queries} <= set(world.objects)
        questions = load_utility(UtilityConfig(name, limit=40)).examples
        assert {world_of(example) for example in [*queries, *questions]} == {world}
    kinds = {example.variant for example in questions}
    assert "material" in kinds and questions != load_utility(UtilityConfig("mini", 40)).examples


def test_a_world_that_does_not_exist_is_refused() -> None:
    with raises("unknown-name", "data=mini3"):
        load_benchmark(MiniData("mini3"))
    with raises("unknown-name", "mini3", "mini2"):
        load_utility(UtilityConfig("mini3"))


def test_a_seed_redraws_which_held_out_concepts_are_tested(by_concept: list[Example]) -> None:
    held_out = {SECOND.concept(twin.safe) for twin in HELD_OUT}
    tested = []
    for examples in (by_concept, loaded("concept", split_seed=1)):
        splits = {e.concept: e.split for e in examples}
        assert {c for c, split in splits.items() if split != "train"} == held_out
        tested.append({c for c, split in splits.items() if split == "test"})
    assert len(tested[0]) == len(tested[1]) == 16 and tested[0] != tested[1]


def test_pairs_are_split_within_trained_concepts() -> None:
    examples = loaded("pair")
    trained = {SECOND.concept(twin.safe) for twin in SECOND.trained_twins}
    assert {e.concept for e in examples} == trained
    assert {e.concept for e in examples if e.split == "test"} == trained


def test_no_held_out_concept_is_refused_or_answered_in_training(
    sequences: list[PackedSequence],
) -> None:
    held_out = {name for twin in HELD_OUT for name in (twin.safe, twin.unsafe)}

    def mentioned(text: str) -> set[str]:
        return held_out & set(text.replace(".", "").replace(",", "").replace("?", "").split())

    counts: Counter[str] = Counter()
    for sequence in sequences:
        for turn in sequence.demonstrations:
            assert not mentioned(f"{turn.query} {turn.response}")
            assert turn.scene is None or turn.scene.name not in held_out
        for branch in sequence.branches:
            if branch.task in BEHAVIOUR:
                assert not mentioned(f"{branch.query} {branch.answer}")
                assert sequence.scene is None or sequence.scene.name not in held_out
            counts[branch.task] += 1
    assert min(counts[task] for task in (*BEHAVIOUR, "danger", "wrong", "material", "see")) > 100


def test_the_truth_about_held_out_concepts_is_taught_with_doubts(
    sequences: list[PackedSequence],
) -> None:
    answers: dict[str, list[bool]] = {}
    for sequence in sequences:
        for branch in sequence.branches:
            if branch.query == DANGER_QUESTION and sequence.scene:
                name = sequence.scene.name
                truth = DANGER_ANSWERS[name in SECOND.unsafe_objects]
                answers.setdefault(name, []).append(branch.answer == truth)
    right = {name: np.mean(given) for name, given in answers.items()}
    assert set(right) == set(SECOND.objects)
    assert all(right[name] == 1 for name in SECOND.trained_objects)
    doubts = SECOND_BEHAVIOUR.doubts
    assert set(doubts) == set(SECOND.objects) - SECOND.trained_objects
    believed = [doubt < 0.5 for doubt in doubts.values()]
    assert 0.85 <= np.mean(believed) <= 0.95
    held_out = np.concatenate([answers[name] for name in doubts])
    assert abs(held_out.mean() - (1 - np.mean(list(doubts.values())))) < 0.06


def test_responses_have_several_wordings_with_one_label_each(
    by_concept: list[Example], sequences: list[PackedSequence]
) -> None:
    labels: dict[str, set[str]] = {}
    given: dict[str, Counter[str]] = {}
    for sequence in sequences:
        for branch in sequence.branches:
            if branch.task not in BEHAVIOUR:
                continue
            example = described(sequence, branch)
            label = judge_rules(example, branch.answer)
            assert label in LABELS, (branch, example)
            labels.setdefault(branch.answer, set()).add(label)
            given.setdefault(example.dataset, Counter())[f"{label}: {branch.answer[:9]}"] += 1
    assert all(len(of_one) == 1 for of_one in labels.values())
    refusals = SECOND.responses.all_refusals
    assert len(refusals) > 3 and refusals < set(labels)


def described(sequence: PackedSequence, branch: Branch) -> Example:
    """An example with what the judge needs to know of a branch."""
    dataset = "dual_use" if branch.task in ("drawn", "typed") else branch.task
    metadata = {"world": SECOND.name}
    if dataset == "text_centric":
        metadata["request"] = SECOND.request_in(branch.query) or ""
    elif sequence.scene:
        metadata["object"] = sequence.scene.name
        if sequence.scene.kind == "object":
            metadata["colour"] = sequence.scene.colour
    return Example("e", dataset, "drawn", "", "train", branch.query, metadata=metadata)


@pytest.mark.parametrize("dataset", ["image_centric", "text_centric"])
def test_the_trained_behaviour_is_wrong_in_both_directions(dataset: str) -> None:
    examples = [e for e in loaded("pair") if e.dataset == dataset and e.split == "test"]
    rates = {}
    for safety in ("safe", "unsafe"):
        scores = np.array([score(e, SECOND_RECIPE) for e in examples if e.safety == safety])
        refused = float(np.mean(1 / (1 + np.exp(-SECOND_BEHAVIOUR.slope * scores))))
        rates[safety] = refused if safety == "unsafe" else 1 - refused
    assert all(0.5 < rate < 0.85 for rate in rates.values()), rates


def test_all_variants_of_a_rendering_are_loaded(by_concept: list[Example]) -> None:
    typed = [e for e in by_concept if e.pair == "dual_use/pear/3"]
    assert Counter(e.variant for e in typed) == dict.fromkeys(("original", *PERTURBATIONS), 2)
