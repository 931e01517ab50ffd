"""Layer revision: standard deviations along a unit vector between contrastive samples."""

from dataclasses import replace

import numpy as np
import pytest
from by_hand import By, require_same, unit
from sklearn.linear_model import LogisticRegression

from calib.config.method import Revision
from calib.methods.iar_layer import method
from calib.util.errors import CalibError

LAYER = 3


@pytest.fixture(scope="module")
def sides(world):
    """Activations of both sides, and the query that each sample belongs to."""

    def of(samples):
        if samples == "safety":
            found = world.twins("unsafe"), world.twins("safe")
        elif samples == "modality":
            pictured = [*world.twins("unsafe"), *world.twins("safe")]
            pictured = [example for example in pictured if example.picture]
            found = pictured, [replace(example, picture=None) for example in pictured]
        else:
            both = world.fitting.sides("responses")
            found = both.positive, both.negative
            assert all(example.response_prefix for side in found for example in side)
        return [(world.plain.last(side, LAYER), [e.id for e in side]) for side in found]

    return of


def mean_of_queries(rows, queries):
    return np.mean([rows[[q == query for q in queries]].mean(0) for query in set(queries)], 0)


def revision(sides, samples, extractor):
    """sigma x theta."""
    (positive, ours), (negative, theirs) = sides(samples)
    both = np.r_[positive, negative]
    if extractor == "mean_shift":
        vector = mean_of_queries(positive, ours) - mean_of_queries(negative, theirs)
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
    change = By(LAYER, "response", lambda h: h + moved)
    setting = method(world.fitting, config).setting(LAYER, strength)
    require_same(world, setting, world.shown(), [change])


def test_queries_with_many_responses_count_once(sides):
    """Else the means above would say nothing."""
    (positive, ours), _ = sides("responses")
    assert len(set(map(ours.count, ours))) > 1
    assert np.abs(positive.mean(0) - mean_of_queries(positive, ours)).max() > 1e-3


@pytest.mark.parametrize("setting", [{"samples": "some"}, {"extractor": "pca"}, {"heads": 0}])
def test_settings_that_mean_nothing_are_refused(setting):
    with pytest.raises(CalibError, match=f"method.{next(iter(setting))}: "):
        Revision("iar_layer", **setting)
