"""Fitting: activations are cached, directions saved and reused, and never confused."""

from dataclasses import replace

import pytest
import torch
from raising import raises
from tiny_families import tiny

from calib.data.mini.examples import load
from calib.directions.direction import read_direction, write_direction
from calib.directions.part_table import read_parts
from calib.directions.projections import projections_path, read_projections
from calib.engine.activations import read_activations
from calib.interventions.contrasts import JudgedAnswer
from calib.interventions.fitting import Fitting


def answers(examples, purpose, judged=True):
    """Every third answer is a refusal, so that every contrast has both sides."""
    answered.append(len(examples))
    return [JudgedAnswer(f"Text {k % 4}.", k % 3 == 0) for k in range(len(examples))]


answered = []
"""Number of examples in each call of ``answers``."""


@pytest.fixture(scope="module")
def examples():
    return load(["image_centric", "text_centric"], limit=12)


@pytest.fixture
def fitting(vlm, examples, tmp_path):
    answered.clear()
    return Fitting(vlm, examples, [], answers, tmp_path)


@pytest.fixture
def passes(monkeypatch):
    """The examples, layers, positions and site of every forward pass."""
    calls = []

    def counted(vlm, examples, positions, rows, bar, layers, site):
        calls.append((list(examples), list(layers), positions, site))
        return read_activations(vlm, examples, positions, rows, bar, layers, site)

    monkeypatch.setattr("calib.engine.reading.read_activations", counted)
    return calls


def test_activations_are_read_once(vlm, fitting, passes):
    examples = fitting.twins("train")[:6]
    first = fitting.activations(examples, [1, 3])
    torch.testing.assert_close(first, read_activations(vlm, examples, layers=[1, 3]))
    assert len(passes) == 1
    again = fitting.activations([examples[4], examples[0], examples[4]], [3])
    assert again.equal(first[[4, 0, 4]][:, 1:])
    assert len(passes) == 1
    fitting.activations(examples[:3], [3, 1])
    assert len(passes) == 1
    more = [*examples[3:], replace(examples[0], query="And now?"), replace(examples[0])]
    assert fitting.activations([*more, *more], [1]).shape == (10, 1, vlm.width)
    assert passes[1][0] == more[3:]  # only new examples, each once


def test_activations_do_not_depend_on_what_was_read_before(vlm, examples, passes, tmp_path):
    """A resumed run has its directions on file, so that other examples are read first."""
    fresh = Fitting(vlm, examples, [], answers, tmp_path / "a")
    resumed = Fitting(vlm, examples, [], answers, tmp_path / "b")
    train = fresh.samples("safety", "train")
    some = [example for example in resumed.twins("train") if example.query.endswith("?")][:3]
    resumed.activations(some[::-1], resumed.layers("all"))
    again = resumed.samples("safety", "train")
    assert train.positive.equal(again.positive) and train.negative.equal(again.negative)
    assert len(passes) == 2


@pytest.mark.parametrize(
    ("changed", "layers"),
    [({"positions": "text"}, [1]), ({"site": "mlp"}, [1]), ({}, [2]), ({}, [1, 2])],
)
def test_other_layers_positions_and_sites_are_read_separately(
    vlm, fitting, passes, changed, layers
):
    examples = fitting.twins("train")[:4]
    before = fitting.activations(examples, [1])
    other = fitting.activations(examples, layers, **changed)
    assert len(passes) == 2
    torch.testing.assert_close(other, read_activations(vlm, examples, layers=layers, **changed))
    assert fitting.activations(examples, [1]).equal(before)
    assert len(passes) == 2


def test_samples_are_the_sides_in_their_order(vlm, fitting):
    sides = fitting.sides("refusal")
    samples = fitting.samples("refusal", layers=[0, 4])
    assert samples.positive.equal(fitting.activations(sides.positive, [0, 4]))
    assert samples.negative.equal(fitting.activations(sides.negative, [0, 4]))
    assert len(samples.positive) != len(samples.negative)
    assert samples.positive_groups == sides.positive_groups
    assert samples.negative_groups == sides.negative_groups
    assert not samples.paired and fitting.samples("safety").paired
    assert fitting.samples("safety").positive.shape[1] == vlm.num_layers


def test_baseline_answers_are_requested_once_per_contrast_and_split(fitting):
    for _ in range(2):
        for contrast in ("refusal", "responses", "safety"):
            for split in ("train", "validation"):
                fitting.sides(contrast, split)
    twins = [len(fitting.twins(split)) for split in ("train", "validation")]
    assert answered == [*twins, *twins]
    assert fitting.sides("responses") is fitting.sides("responses")


def test_a_direction_by_hand(vlm, fitting, tmp_path):
    """Mean difference of refused and answered train examples, with its AUROC on validation."""
    direction = fitting.direction("refusal", positions="text")
    sides = fitting.sides("refusal")
    means = [
        read_activations(vlm, side, "text").double().mean(0)
        for side in (sides.positive, sides.negative)
    ]
    difference = means[0] - means[1]
    gap = difference.norm(dim=-1)
    torch.testing.assert_close(direction.gap.double(), gap, rtol=1e-4, atol=1e-5)
    along = difference / gap[:, None]
    torch.testing.assert_close(direction.vectors.double(), along, rtol=1e-3, atol=1e-5)
    middle = ((means[0] + means[1]) / 2 * along).sum(-1)
    torch.testing.assert_close(direction.midpoint.double(), middle, rtol=1e-3, atol=1e-3)
    fit = direction.contrast, direction.estimator, direction.read_positions, direction.site
    assert fit == ("refusal", "mean_difference", "text", "residual")
    assert direction.layers == list(range(vlm.num_layers))
    held_out = fitting.sides("refusal", "validation")
    assert direction.auroc_pairs == min(len(held_out.positive), len(held_out.negative))
    positive, negative = (
        (read_activations(vlm, side, "text", layers=[2])[:, 0].double() @ along[2])
        for side in (held_out.positive, held_out.negative)
    )
    correct = (positive[:, None] > negative[None]).double().mean()
    assert direction.auroc[2] == pytest.approx(float(correct))
    path = tmp_path / "directions" / "refusal-mean_difference-text-residual.safetensors"
    assert read_direction(path).vectors.equal(direction.vectors)


def test_a_saved_direction_is_reused(vlm, examples, fitting, passes, tmp_path):
    first = fitting.direction("safety")
    count = len(passes)
    assert fitting.direction("safety").vectors.equal(first.vectors)
    resumed = Fitting(
        vlm, examples, [], lambda *args: pytest.fail("the direction is saved"), tmp_path
    )
    assert resumed.direction("safety").vectors.equal(first.vectors)
    assert len(passes) == count
    for other in ({"estimator": "pca"}, {"positions": "text"}, {"site": "mlp"}):
        assert not fitting.direction("safety", **other).vectors.equal(first.vectors)
    saved = [path.name.split(".", 1) for path in sorted((tmp_path / "directions").iterdir())]
    assert [ending for _, ending in saved] == ["projections.csv", "safetensors"] * 4
    assert len({name for name, _ in saved}) == 4


def test_projections_are_saved_without_another_pass(vlm, fitting, passes, tmp_path):
    direction = fitting.direction("refusal")
    assert len(passes) == 2  # train, validation
    path = tmp_path / "directions" / "refusal-mean_difference-last_prompt-residual.projections.csv"
    saved = read_projections(path)
    assert saved.layers == direction.layers
    for split in ("train", "validation"):
        sides = fitting.sides("refusal", split)
        for side, examples in (("positive", sides.positive), ("negative", sides.negative)):
            along = saved.at(2, side, split)
            ids = [
                example
                for example, *rest in zip(saved.examples, saved.sides, saved.splits, strict=True)
                if rest == [side, split]
            ]
            assert ids == [example.id for example in examples]
            read = read_activations(vlm, examples, layers=[2])[:, 0].double()
            by_hand = read @ direction.vectors[2].double() - float(direction.midpoint[2])
            assert along == pytest.approx((by_hand / float(direction.gap[2])).numpy(), abs=1e-3)
    correct = saved.at(2, "positive", "validation")[:, None] > saved.at(2, "negative", "validation")
    assert direction.auroc[2] == pytest.approx(correct.mean())


def test_parts_are_compared_without_another_pass(vlm, passes, tmp_path):
    examples = load(["image_centric", "text_centric"], limit=40)
    fitting = Fitting(vlm, examples, [], answers, tmp_path)
    direction = fitting.direction("safety")
    assert len(passes) == 2  # train, validation
    (path,) = (tmp_path / "directions").glob("*.parts.csv")
    saved = read_parts(path)
    assert {s.fitted_on for s in saved} == {"all", "image_centric", "text_centric"}
    pooled = [s for s in saved if (s.fitted_on, s.measured_on) == ("all", "all")]
    assert [s.auroc for s in pooled] == pytest.approx(direction.auroc, abs=1e-6)
    bounds = [bound for s in pooled for bound in (s.low, s.high)]
    assert [b for pair in direction.auroc_intervals for b in pair] == pytest.approx(
        bounds, abs=1e-6
    )
    layers = direction.select_layers([1, 4])
    assert layers.auroc_intervals == [direction.auroc_intervals[k] for k in (1, 4)]
    (first,) = fitting.part_notes.values()
    resumed = Fitting(vlm, examples, [], answers, tmp_path)
    resumed.direction("safety")
    assert list(resumed.part_notes.values()) == [first]
    assert len(passes) == 2


def test_projections_are_written_before_their_direction(
    vlm, examples, fitting, tmp_path, monkeypatch
):
    """A run killed between the two files fits both again. A saved direction without projections, as
    older versions wrote it, is reused without them."""

    def killed(path, direction):
        raise KeyboardInterrupt

    path = tmp_path / "directions" / "safety-mean_difference-last_prompt-residual.safetensors"
    with monkeypatch.context() as patched:
        patched.setattr("calib.interventions.fitting.write_direction", killed)
        with pytest.raises(KeyboardInterrupt):
            fitting.direction("safety")
    projections = projections_path(path)
    assert projections.exists() and not path.exists()
    first = projections.read_bytes()
    projections.write_bytes(b"of another direction")
    resumed = Fitting(vlm, examples, [], answers, tmp_path)
    resumed.direction("safety")
    assert projections.read_bytes() == first
    projections.unlink()
    resumed.direction("safety")
    assert path.exists() and not projections.exists()


def test_a_direction_that_was_fitted_differently_is_refused(vlm, examples, fitting, tmp_path):
    path = tmp_path / "directions" / "safety-mean_difference-last_prompt-residual.safetensors"
    direction = fitting.direction("safety")
    for name, value in (
        ("contrast", "refusal"),
        ("estimator", "pca"),
        ("read_positions", "text"),
        ("site", "mlp"),
        ("pair_set", "0123456789abcdef"),
    ):
        write_direction(path, replace(direction, **{name: value}))
        with raises("mismatch", path, name, value, getattr(direction, name)):
            fitting.direction("safety")
    write_direction(path, replace(direction, fingerprint="other", origin={}))
    with raises("mismatch", path, "other", vlm.fingerprint):
        fitting.direction("safety")
    write_direction(path, direction)
    removed = fitting.twins("train")[:2]
    other = Fitting(vlm, [e for e in examples if e not in removed], [], answers, tmp_path)
    with raises("mismatch", path, "pair_set", direction.pair_set):
        other.direction("safety")


def test_empty_sides_are_an_error_in_the_train_split_only(vlm, examples, tmp_path):
    def no_refusals(examples, purpose, judged=True):
        return [JudgedAnswer("Yes.", False)] * len(examples)

    fitting = Fitting(vlm, examples, [], no_refusals, tmp_path)
    with raises("too-few", "refusal", "refuses"):
        fitting.direction("refusal")
    assert fitting.sides("refusal", "validation").positive == []
    with raises("too-few", "responses", "positive"):
        fitting.samples("responses")


def test_without_validation_pairs_there_is_no_auroc(vlm, examples, tmp_path):
    train = [e for e in examples if e.split == "train"]
    direction = Fitting(vlm, train, [], answers, tmp_path).direction("safety")
    assert (direction.auroc, direction.auroc_pairs) == ([], 0)
    (saved,) = (tmp_path / "directions").glob("*.projections.csv")
    assert set(read_projections(saved).splits) == {"train"}
    held_out = [e for e in examples if e.split != "train"]
    with raises("too-few", "train"):
        Fitting(vlm, held_out, [], answers, tmp_path / "none").direction("safety")


@pytest.fixture
def hybrid(examples, tmp_path):
    """A fitting to LFM2-VL, whose first blocks are convolutions over three tokens."""
    return Fitting(tiny("lfm2_vl"), examples, [], answers, tmp_path)


def test_layers_that_do_not_see_the_query_are_left_out(hybrid):
    direction = hybrid.direction("safety")
    assert direction.layers == [2, 3, 4] and len(direction.vectors) == 3
    assert hybrid.layers_of(direction, "all") == [2, 3, 4]
    assert hybrid.layers_of(direction, [0, 3]) == [0, 3]  # refused when it is edited
    with raises("invalid-value", "layer 0", "[2, 3, 4]"):
        direction.row(0)
    assert any(
        "layers 0, 1" in note and "last_prompt" in note for note in hybrid.part_notes.values()
    )
    again = Fitting(hybrid.vlm, hybrid.examples, [], answers, hybrid.folder)
    assert again.direction("safety").layers == [2, 3, 4]
    assert any("layers 0, 1" in note for note in again.part_notes.values())


def test_layers_see_the_query_where_its_tokens_are_read(hybrid):
    direction = hybrid.direction("safety", positions="text")
    assert direction.layers == [0, 1, 2, 3, 4]
    assert not any("layers" in name for name in hybrid.part_notes)


def test_heads_of_a_hybrid_are_fitted_in_its_blocks_with_attention(hybrid):
    assert hybrid.direction("safety", site="heads").layers == [2, 4]
    assert hybrid.samples("safety", site="heads").positive.shape[1] == 2
