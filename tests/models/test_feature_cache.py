"""The cache of image features stays within its limits, however many images it has seen."""

import torch

from calib.models import feature_cache
from calib.models.feature_cache import FeatureCache

FEATURES = {"pooler_output": torch.ones(4, 2)}  # 32 bytes


def test_old_features_are_evicted_and_counted_when_they_are_encoded_again():
    cache = FeatureCache(64)
    for name in "abcab":
        cache.put(name, FEATURES)
    assert ["a" in cache, "b" in cache, "c" in cache] == [True, True, False]
    assert (cache.passes, cache.repeated_passes) == (5, 2)


def test_names_of_evicted_images_do_not_accumulate(monkeypatch):
    monkeypatch.setattr(feature_cache, "MAX_NAMES", 3)
    cache = FeatureCache(32)
    for k in range(10):
        cache.put(str(k), FEATURES)
    assert len(cache._encoded) == 3
