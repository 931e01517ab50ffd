"""Fitted directions: their metadata, and the models that they may be used with."""

import dataclasses

import pytest
import torch
from raising import raises
from random_contrasts import LAYERS, twins, unpaired

from calib.directions.direction import read_direction, write_direction
from calib.directions.estimators import ESTIMATORS
from calib.directions.fit import fit_direction, require_match
from calib.directions.separation import auroc, pair_cosine
from calib.models.layers import site_width


def fitted(vlm, train, held_out=None, estimator="pca"):
    return fit_direction(
        vlm, train, held_out, contrast="safety", estimator=estimator, positions="last_prompt",
        site="heads", layers=[2, 5], pair_set="abc",
    )  # fmt: skip


def test_a_direction_has_the_fit_and_its_provenance(vlm, tmp_path):
    train, held_out = twins(12), twins(9, seed=1)
    direction, fit = fitted(vlm, train, held_out), ESTIMATORS["pca"](train)
    for name in ("vectors", "gap", "midpoint"):
        assert torch.equal(getattr(direction, name), getattr(fit, name))
    both = torch.cat([train.positive, train.negative])
    assert torch.allclose(direction.norm, both.norm(dim=-1).mean(0))
    assert direction.pair_cosine == pair_cosine(train)
    assert (direction.auroc, direction.auroc_pairs) == (auroc(fit.vectors, held_out), 9)
    fields = (direction.site, direction.estimator, direction.contrast, direction.read_positions)
    assert fields == ("heads", "pca", "safety", "last_prompt")
    assert (direction.layers, direction.pairs, direction.pair_set) == ([2, 5], 12, "abc")
    assert (direction.fingerprint, direction.positions) == (vlm.fingerprint, "")
    write_direction(tmp_path / "d.safetensors", direction)
    assert read_direction(tmp_path / "d.safetensors").auroc == direction.auroc


def test_unpaired_samples_and_no_held_out_samples(vlm, tmp_path):
    direction = fitted(vlm, unpaired(), estimator="lda")
    assert (direction.auroc, direction.auroc_pairs, direction.pair_cosine) == ([], 0, [])
    assert direction.pairs == 7
    of_one_pair = fitted(vlm, twins(1), estimator="mean_difference")
    write_direction(tmp_path / "d.safetensors", of_one_pair)
    assert len(read_direction(tmp_path / "d.safetensors").pair_cosine) == LAYERS


def test_an_unknown_estimator(vlm):
    with raises("unknown-name", "mean_diference", "'mean_difference'"):
        fitted(vlm, twins(), estimator="mean_diference")


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ({"fingerprint": "0000", "origin": {}}, "0000"),  # a file of an earlier version
        ({"fingerprint": "0000", "origin": {"weights": "1111"}}, "weights: 1111"),
        ({"vectors": torch.eye(7)[:2]}, "width 7"),
        ({"layers": [1, 40]}, [40]),
    ],
)
def test_a_direction_of_another_model_is_rejected(vlm, change, value):
    direction = fitted(vlm, twins())
    direction = dataclasses.replace(
        direction, vectors=torch.eye(site_width(vlm.model, "heads"))[:LAYERS]
    )
    require_match(direction, vlm, "d.safetensors")
    with raises("mismatch", "d.safetensors", "mini-internvl", value):
        require_match(dataclasses.replace(direction, **change), vlm, "d.safetensors")
