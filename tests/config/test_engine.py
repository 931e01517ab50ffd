"""The settings of the engine."""

import pytest
from composing import composed
from raising import raises

from calib.config.engine import VllmChoice


def test_addresses_are_one_or_several():
    assert VllmChoice().urls == []
    assert VllmChoice(base_url="http://localhost:1/").urls == ["http://localhost:1"]
    assert VllmChoice(base_url=["http://a:1", "http://b:2"]).urls == ["http://a:1", "http://b:2"]


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"base_url": "localhost:8000"}, "engine.base_url"),
        ({"base_url": "http://a:99999"}, "engine.base_url"),
        ({"base_url": "http://a:1,http://b:2"}, "engine.base_url"),
        ({"base_url": "http://a:1 "}, "engine.base_url"),
        ({"base_url": []}, "engine.base_url"),
        ({"base_url": {"a": 1}}, "engine.base_url"),
        ({"key_env": "not a name"}, "engine.key_env"),
        ({"tensor_parallel": 0}, "engine.tensor_parallel"),
        ({"rows_in_flight": 0}, "engine.rows_in_flight"),
        ({"gpu_memory_utilization": 1.5}, "engine.gpu_memory_utilization"),
        ({"first_token": "some"}, "engine.first_token"),
        ({"first_token": 0}, "engine.first_token"),
        ({"extra": [1]}, "engine.extra"),
    ],
)
def test_wrong_settings_are_named(settings, key):
    with raises("invalid-setting", key):
        VllmChoice(**settings)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tensor_parallel", 8),
        ("data_parallel", 2),
        ("max_model_len", 512),
        ("extra", {"kv_cache_dtype": "fp8"}),
    ],
)
def test_settings_of_this_process_are_not_ignored_where_there_is_a_server(key, value):
    VllmChoice(**{key: value})
    with raises("conflicting-settings", f"engine.{key}={value}", "engine.base_url"):
        VllmChoice(base_url="http://a:1", **{key: value})


@pytest.mark.parametrize(
    ("name", "value", "instead"),
    [
        ("model", "other/model", "model.checkpoint"),
        ("dtype", "bfloat16", "model.dtype"),
        ("seed", 3, "seed"),
        ("tensor_parallel_size", 2, "engine.tensor_parallel"),
        ("enforce_eager", False, "eager"),
        ("load_format", "dummy", "weights"),
    ],
)
def test_arguments_that_calib_sets_are_no_extra_ones(name, value, instead):
    with raises("conflicting-settings", "engine.extra", name, instead):
        VllmChoice(extra={name: value})


def test_a_server_is_given_once():
    with raises("duplicate", "http://a:1"):
        VllmChoice(base_url=["http://a:1", "http://b:2", "http://a:1/v1/"])


@pytest.mark.parametrize("name", ["tensor_parallel", "pipeline_parallel"])
def test_a_process_per_gpu_has_no_parallel_vllm(name):
    with raises("conflicting-settings", "devices=all", f"engine.{name}=2"):
        composed("sweep", "engine=vllm", f"engine.{name}=2", "devices=all")
