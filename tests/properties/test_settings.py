"""Any value of any setting is taken or refused with a message; settings that are taken last."""

import dataclasses
import json
from random import Random

import pytest
from composing import composed
from hypothesis import example, given
from hypothesis import strategies as st
from in_process import started
from property_profiles import share
from property_strategies import broken_texts, deep, json_values, names, texts
from raising import raises

from calib.cli.setting_types import setting_keys
from calib.config import checks
from calib.config.model import ModelConfig
from calib.config.quoting import override
from calib.config.schemas import ENTRY_POINTS, GROUPS
from calib.config.typed import current_names, former_names, parse_settings, typed_config
from calib.runs.manifest import run_folder
from calib.runs.run_files import settings_text
from calib.util.errors import CalibError

CLASSES = sorted(
    {cls for group in GROUPS.values() for cls in group.values()}, key=lambda cls: cls.__name__
)
VALUES = st.one_of(json_values, st.sampled_from(["${x}", "${", "???"]))


@given(st.data(), st.sampled_from(CLASSES))
@share(4)
def test_any_stored_settings_are_taken_or_refused(data, cls):
    fields = [field.name for field in dataclasses.fields(cls)]
    keys = st.sampled_from([*fields, "other"])
    settings = data.draw(st.dictionaries(keys, VALUES, max_size=3))
    try:
        config = typed_config([cls], {"name": "x", **settings})
    except CalibError as error:
        assert str(error)
    else:
        assert isinstance(config, cls)


@pytest.mark.parametrize("key", [None, "a"])
def test_settings_that_are_nested_too_deeply_are_refused(key):
    with raises("invalid-setting", "'x'"):
        typed_config([ModelConfig], {"name": "x", "chat_template_kwargs": deep(400, key)})


CHECKS = {
    checks.shard: texts | st.sampled_from(["9" * 5000 + "/2", "²/3", "1/0", "-1/2", "0/1"]),
    checks.layers: json_values,
    checks.read_positions: texts | st.just("last_prompt-" + "9" * 5000),
    checks.translation: json_values,
    checks.template_kwargs: json_values,
}


@given(st.data(), st.sampled_from(list(CHECKS)))
@share(2)
def test_any_value_passes_a_check_or_is_refused(data, check):
    try:
        check("key", data.draw(CHECKS[check]))
    except CalibError as error:
        assert error.code in ("invalid-setting", "conflicting-settings")


@given(broken_texts, st.sampled_from(["http://", "https://", ""]))
def test_any_address_is_taken_or_refused(text, scheme):
    try:
        checks.address("key", scheme + text, "key_env")
    except CalibError as error:
        assert error.code == "invalid-setting"


WORDS = [
    *(
        "null",
        "true",
        "-1",
        "0",
        "1.5",
        "1e400",
        "nan",
        "inf",
        "[]",
        "[1]",
        "[a,b]",
        "{}",
        "{a: 1}",
    ),
    *(
        "''",
        "[[1]]",
        "{a: {b: [1, {c: null}]}}",
        "${seed}",
        "${x",
        "${oc.env:NONE}",
        "???",
        "9" * 30,
        "9" * 400,
    ),
    *("glob(*)", "range(1,3)", "choice(a,b)", "all", "steer", "a b", "é", "~", "1/2", "'", "a=b"),
]
KEYS = {name: sorted({*setting_keys(schema), *GROUPS}) for name, schema in ENTRY_POINTS.items()}
ARGUMENTS = st.builds(
    lambda sign, key, value: f"{sign}{key}={value}",
    st.sampled_from(["", "", "", "+", "++", "~"]),
    st.shared(st.sampled_from(sorted(KEYS)), key="command").flatmap(
        lambda name: st.sampled_from(KEYS[name]) | names
    ),
    st.sampled_from(WORDS) | texts.filter(lambda text: "\x00" not in text),
)


@given(
    st.shared(st.sampled_from(sorted(KEYS)), key="command"),
    st.lists(ARGUMENTS, min_size=1, max_size=3),
)
@share(0.4)
def test_any_command_line_runs_or_ends_in_a_message(name, arguments):
    done = started(lambda config: None, name, *arguments)
    assert done.code in (0, 2), done.stderr
    assert done.code == 0 or done.stderr.startswith(f"calib.{name}: [")
    assert "Traceback" not in done.stderr


OVERRIDES = st.fixed_dictionaries(
    {},
    optional={
        "title": texts,
        "out": texts.filter(str.strip),
        "data.file": texts.filter(str.strip),
        "data.query": texts,
        "data.system": texts,
        "model.checkpoint": texts.filter(str.strip),
    },
).map(lambda settings: [override(*item) for item in settings.items()])
NUMBERS = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(-(2**40), 2**40),
        "data.train": st.floats(0.1, 0.4),
        "method.strengths": st.lists(
            st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=3
        ),
        "generation.temperature": st.floats(0, 2),
        "choose.utility_tolerance": st.floats(0, 0.5),
    },
).map(lambda settings: [f"{key}={value}" for key, value in settings.items()])


@example(texts=['title="\x85"'], more=[], random=Random(0))
@given(texts=OVERRIDES, more=NUMBERS, random=st.randoms(use_true_random=False))
@share(0.15)
def test_settings_last_through_config_yaml_and_their_order_is_no_matter(
    tmp_path, texts, more, random
):
    overrides = [*texts, *more]
    config = composed("sweep", "data=pairs", *overrides)
    stored = parse_settings(settings_text(config), tmp_path / "config.yaml")
    assert stored == json.loads(json.dumps(dataclasses.asdict(config)))
    for group in ("model", "method", "data", "judge"):
        kinds = list(GROUPS[group].values())
        assert typed_config(kinds, stored[group]) == getattr(config, group)
    random.shuffle(overrides)
    again = composed("sweep", "data=pairs", *overrides)
    assert run_folder(["m"], again) == run_folder(["m"], config)
    assert current_names(former_names(stored)).keys() == stored.keys() - {"engine"}
