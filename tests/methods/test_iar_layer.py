"""Layer revision: standard deviations along a unit vector between contrastive samples."""

from dataclasses import replace

import numpy as np
import pytest
from by_hand import FormulaEdit, require_same, unit
from raising import raises
from sklearn.linear_model import LogisticRegression

from calib.config.method import Revision
from calib.methods.iar_layer import method

LAYER = 3


@pytest.fixture(scope="module")
def sides(world):
    """Activations of both sides of a contrast, with the query that each sample belongs to."""

    def of(samples):
        if samples == "safety":
            both = world.twins("unsafe"), world.twins("safe")
        elif samples == "modality":
            pictured = [*world.twins("unsafe"), *world.twins("safe")]
            pictured = [example for example in pictured if example.picture]
            both = pictured, [replace(example, picture=None) for example in pictured]
        else:
            contrast = world.fitting.sides("responses")
            both = contrast.positive, contrast.negative
            assert all(example.response_prefix for side in both for example in side)
        return [(world.plain.last(side, LAYER), [e.id for e in side]) for side in both]

    return of


def mean_of_queries(rows, queries):
    return np.mean([rows[[q == query for q in queries]].mean(0) for query in set(queries)], 0)


def revision(sides, samples, extractor):
    """sigma x theta."""
    (positive, positive_ids), (negative, negative_ids) = sides(samples)
    both = np.r_[positive, negative]
    if extractor == "mean_shift":
        vector = mean_of_queries(positive, positive_ids) - mean_of_queries(negative, negative_ids)
    else:
        scaled = (both - both.mean(0)) / (both - both.mean(0)).std()
        labels = np.r_[np.ones(len(positive)), np.zeros(len(negative))]
        vector = LogisticRegression(max_iter=1000).fit(scaled, labels).coef_[0]
    theta = unit(vector) * (-1 if samples == "modality" else 1)
    return (both @ theta).std() * theta


@pytest.mark.parametrize("samples", ["safety", "modality", "responses"])
@pytest.mark.parametrize("extractor", ["mean_shift", "probe_weight"])
@pytest.mark.parametrize("strength", [-8.0, 10.0])
def test_deviations_are_added_at_every_generated_token(world, sides, samples, extractor, strength):
    config = Revision("iar_layer", samples=samples, extractor=extractor, positions="response")
    moved = strength * revision(sides, samples, extractor)
    change = FormulaEdit(LAYER, "response", lambda h: h + moved)
    setting = method(world.fitting, config).setting(LAYER, strength)
    # The solver of the probe stops before it converges, at weights that depend on rounding.
    tolerance = 3e-5 if extractor == "probe_weight" else 1e-5
    require_same(world, setting, world.test_example(), [change], tolerance)


def test_queries_have_different_numbers_of_responses(sides):
    """Otherwise the mean of queries and the mean of responses would be the same."""
    (positive, ids), _ = sides("responses")
    assert len(set(map(ids.count, ids))) > 1
    assert np.abs(positive.mean(0) - mean_of_queries(positive, ids)).max() > 1e-3


@pytest.mark.parametrize("setting", [{"samples": "some"}, {"extractor": "pca"}, {"heads": 0}])
def test_invalid_settings_are_refused(setting):
    ((name, value),) = setting.items()
    with raises("invalid-setting", f"method.{name}", value):
        Revision("iar_layer", **setting)
