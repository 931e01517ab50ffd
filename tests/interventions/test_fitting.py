"""Fitting: everything is read once, directions are kept and used again, nothing is mixed up."""

from dataclasses import replace

import pytest
import torch

import calib.interventions.fitting as module
from calib.data.mini.examples import load
from calib.directions.direction import read_direction, write_direction
from calib.directions.projections import projections_file, read_projections
from calib.engine.activations import read_activations
from calib.interventions.contrasts import JudgedAnswer
from calib.interventions.fitting import Fitting
from calib.util.errors import CalibError


def answers(examples, purpose, judged=True):
    """Refused by turns, so that every contrast has both sides."""
    asked.append(len(examples))
    return [JudgedAnswer(f"Text {k % 4}.", k % 3 == 0) for k in range(len(examples))]


asked = []


@pytest.fixture(scope="module")
def examples():
    return load(["image_centric", "text_centric"], limit=12)


@pytest.fixture
def fitting(vlm, examples, tmp_path):
    asked.clear()
    return Fitting(vlm, examples, [], answers, tmp_path)


@pytest.fixture
def passes(monkeypatch):
    """Every reading: which examples, layers, positions and site."""
    seen = []

    def counted(vlm, examples, positions, rows, bar, layers, site):
        seen.append((list(examples), list(layers), positions, site))
        return read_activations(vlm, examples, positions, rows, bar, layers, site)

    monkeypatch.setattr(module, "read_activations", counted)
    return seen


def test_what_was_read_is_not_read_again(vlm, fitting, passes):
    some = fitting.twins("train")[:6]
    first = fitting.activations(some, [1, 3])
    assert first.equal(read_activations(vlm, some, layers=[1, 3]))
    assert len(passes) == 1
    again = fitting.activations([some[4], some[0], some[4]], [3])
    assert again.equal(first[[4, 0, 4]][:, 1:])
    assert len(passes) == 1
    fitting.activations(some[:3], [3, 1])
    assert len(passes) == 1
    more = [*some[3:], replace(some[0], query="And now?"), replace(some[0])]
    assert fitting.activations([*more, *more], [1]).shape == (10, 1, vlm.width)
    assert passes[1][0] == more[3:]  # only what is new, each once


@pytest.mark.parametrize(
    ("changed", "layers"),
    [({"positions": "text"}, [1]), ({"site": "mlp"}, [1]), ({}, [2]), ({}, [1, 2])],
)
def test_other_layers_positions_and_sites_are_read_for_themselves(
    vlm, fitting, passes, changed, layers
):
    some = fitting.twins("train")[:4]
    before = fitting.activations(some, [1])
    found = fitting.activations(some, layers, **changed)
    assert len(passes) == 2
    torch.testing.assert_close(found, read_activations(vlm, some, layers=layers, **changed))
    assert fitting.activations(some, [1]).equal(before)
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


def test_the_model_is_asked_once_per_contrast_and_split(fitting):
    for _ in range(2):
        for contrast in ("refusal", "responses", "safety"):
            for split in ("train", "validation"):
                fitting.sides(contrast, split)
    twins = [len(fitting.twins(split)) for split in ("train", "validation")]
    assert asked == [*twins, *twins]
    assert fitting.sides("responses") is fitting.sides("responses")


def test_a_direction_by_hand(vlm, fitting, tmp_path):
    """Mean difference of refused and answered train examples, measured on validation ones."""
    direction = fitting.direction("refusal", positions="text")
    sides = fitting.sides("refusal")
    means = [
        read_activations(vlm, side, "text").double().mean(0)
        for side in (sides.positive, sides.negative)
    ]
    apart = means[0] - means[1]
    gap = apart.norm(dim=-1)
    torch.testing.assert_close(direction.gap.double(), gap, rtol=1e-4, atol=1e-5)
    along = apart / gap[:, None]
    torch.testing.assert_close(direction.vectors.double(), along, rtol=1e-3, atol=1e-5)
    middle = ((means[0] + means[1]) / 2 * along).sum(-1)
    torch.testing.assert_close(direction.midpoint.double(), middle, rtol=1e-3, atol=1e-3)
    said = direction.contrast, direction.estimator, direction.read_positions, direction.site
    assert said == ("refusal", "mean_difference", "text", "residual")
    assert direction.layers == list(range(vlm.num_layers))
    held_out = fitting.sides("refusal", "validation")
    assert direction.auroc_pairs == min(len(held_out.positive), len(held_out.negative))
    positive, negative = (
        (read_activations(vlm, side, "text", layers=[2])[:, 0].double() @ along[2])
        for side in (held_out.positive, held_out.negative)
    )
    won = (positive[:, None] > negative[None]).double().mean()
    assert direction.auroc[2] == pytest.approx(float(won))
    kept = tmp_path / "directions" / "refusal-mean_difference-text-residual.safetensors"
    assert read_direction(kept).vectors.equal(direction.vectors)


def test_a_kept_direction_is_used_again(vlm, examples, fitting, passes, tmp_path):
    first = fitting.direction("safety")
    count = len(passes)
    assert fitting.direction("safety").vectors.equal(first.vectors)
    resumed = Fitting(vlm, examples, [], lambda *args: pytest.fail("asked"), tmp_path)
    assert resumed.direction("safety").vectors.equal(first.vectors)
    assert len(passes) == count
    for other in ({"estimator": "pca"}, {"positions": "text"}, {"site": "mlp"}):
        assert not fitting.direction("safety", **other).vectors.equal(first.vectors)
    kept = [path.name.split(".", 1) for path in sorted((tmp_path / "directions").iterdir())]
    assert [ending for _, ending in kept] == ["projections.csv", "safetensors"] * 4
    assert len({name for name, _ in kept}) == 4


def test_where_examples_lie_is_kept_without_another_pass(vlm, fitting, passes, tmp_path):
    direction = fitting.direction("refusal")
    assert len(passes) == 2  # train, validation
    path = tmp_path / "directions" / "refusal-mean_difference-last_prompt-residual.projections.csv"
    found = read_projections(path)
    assert found.layers == direction.layers
    for split in ("train", "validation"):
        sides = fitting.sides("refusal", split)
        for side, some in (("positive", sides.positive), ("negative", sides.negative)):
            along = found.at(2, side, split)
            own = [
                example
                for example, *place in zip(found.examples, found.sides, found.splits, strict=True)
                if place == [side, split]
            ]
            assert own == [example.id for example in some]
            read = read_activations(vlm, some, layers=[2])[:, 0].double()
            by_hand = read @ direction.vectors[2].double() - float(direction.midpoint[2])
            assert along == pytest.approx((by_hand / float(direction.gap[2])).numpy(), abs=1e-3)
    won = found.at(2, "positive", "validation")[:, None] > found.at(2, "negative", "validation")
    assert direction.auroc[2] == pytest.approx(won.mean())


def test_projections_stand_where_the_direction_does(vlm, examples, fitting, tmp_path, monkeypatch):
    """A run killed between the two files fits both again; one from before goes without."""

    def killed(path, direction):
        raise KeyboardInterrupt

    path = tmp_path / "directions" / "safety-mean_difference-last_prompt-residual.safetensors"
    with monkeypatch.context() as patched:
        patched.setattr(module, "write_direction", killed)
        with pytest.raises(KeyboardInterrupt):
            fitting.direction("safety")
    kept = projections_file(path)
    assert kept.exists() and not path.exists()
    first = kept.read_bytes()
    kept.write_bytes(b"of another direction")
    resumed = Fitting(vlm, examples, [], answers, tmp_path)
    resumed.direction("safety")
    assert kept.read_bytes() == first
    kept.unlink()
    resumed.direction("safety")
    assert path.exists() and not kept.exists()


def test_a_file_of_something_else_is_refused(vlm, examples, fitting, tmp_path):
    path = tmp_path / "directions" / "safety-mean_difference-last_prompt-residual.safetensors"
    direction = fitting.direction("safety")
    for change, message in (
        ({"contrast": "refusal"}, r"fitted otherwise \(contrast: refusal, now safety\)"),
        ({"estimator": "pca"}, r"\(estimator: pca, now mean_difference\)"),
        ({"read_positions": "text"}, r"\(read_positions: text, now last_prompt\)"),
        ({"site": "mlp"}, r"\(site: mlp, now residual\)"),
        ({"pair_set": "0123456789abcdef"}, r"\(pair_set: 0123456789abcdef, now "),
        ({"fingerprint": "other"}, "was read from mini-internvl"),
    ):
        write_direction(path, replace(direction, **change))
        with pytest.raises(CalibError, match=message):
            fitting.direction("safety")
    write_direction(path, direction)
    lost = fitting.twins("train")[:2]
    other = Fitting(vlm, [e for e in examples if e not in lost], [], answers, tmp_path)
    with pytest.raises(CalibError, match=r"pair_set: .* delete the file to fit it again"):
        other.direction("safety")


def test_empty_sides_are_an_error_in_the_train_split_only(vlm, examples, tmp_path):
    def never(asked, purpose, judged=True):
        return [JudgedAnswer("Yes.", False)] * len(asked)

    fitting = Fitting(vlm, examples, [], never, tmp_path)
    with pytest.raises(CalibError, match="the refusal contrast has no positive training examples"):
        fitting.direction("refusal")
    assert fitting.sides("refusal", "validation").positive == []
    with pytest.raises(CalibError, match="the responses contrast has no positive"):
        fitting.samples("responses")


def test_no_held_out_pairs_leave_the_auroc_away(vlm, examples, tmp_path):
    train = [e for e in examples if e.split == "train"]
    direction = Fitting(vlm, train, [], answers, tmp_path).direction("safety")
    assert (direction.auroc, direction.auroc_pairs) == ([], 0)
    (kept,) = (tmp_path / "directions").glob("*.projections.csv")
    assert set(read_projections(kept).splits) == {"train"}
    held_out = [e for e in examples if e.split != "train"]
    with pytest.raises(CalibError, match="no safe/unsafe pairs in the train split"):
        Fitting(vlm, held_out, [], answers, tmp_path / "none").direction("safety")
