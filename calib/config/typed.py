"""Typed settings from plain mappings, and the settings that were renamed.

A finished run stores its settings as JSON and YAML; ``calib.load`` and ``calib.load_pairs`` take
them as keyword arguments. Both become the dataclasses of calib.config here.
"""

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import OmegaConf
from omegaconf._utils import get_yaml_loader
from omegaconf.errors import OmegaConfBaseException

from calib.config.extensions import schemas_for, settings_objects
from calib.config.prompts import MethodConfig
from calib.config.quoting import escaped_interpolations
from calib.util.errors import CalibError, did_you_mean
from calib.util.reading import require_moderate

RENAMED = {
    "method.together": "method.all_layers_at_once",
    "method.closed": "method.otherwise",
}
"""Former names of settings and the present ones. They still work on the command line, and in the
folders of runs made before."""

ADDED: dict[str, Any] = {
    "method.first_layers": None,
    "method.selection": "grid",
    "method.selection_kl": 0.1,
    "method.captioned": "{caption} {query}",
    "method.text_only": False,
    "method.gate_positions": "last_prompt",
    "method.gate_side": "auto",
    "method.gate_criterion": "f1",
    "method.opposite_ratio": 1.0,
    "method.top_channels": None,
    "method.harm_direction": "orthogonal",
    "method.refusal_offset": 0.0,
    "method.harm_offset": 0.0,
    "method.benign": "twins",
    "method.texts": {},
    "method.transition_from": "last_prompt",
    "method.place": "turn",
    "method.verdict": "first_word",
    "data.split_by": "pair",
    "data.split_seed": 0,
    "model.chat_template_kwargs": None,
    "model.system_place": "template",
    "judge.chat_template_kwargs": None,
    "judge.system_place": "template",
    "utility.several_pictures": False,
    "model.accept_directions": "same_settings",
    "model.max_pixels": None,
    "model.min_pixels": None,
    "data.skip_long": False,
    "data.sheet": None,
    "data.columns": None,
    "data.labels": None,
}
"""Settings that are newer than the first version, and the value that runs made before them behave
as. The settings of such a run are completed with these, and digests leave them out."""

ADDED_TO: dict[str, dict[str, Any]] = {"refusal_control": {"gate_side": "above"}}
"""Values of ADDED that differ for one method: its gate opened at high scores only."""

DEFAULT_ENGINE = {"name": "transformers"}
"""The engine of runs that were made before there was a choice; digests leave it out."""

_METHOD_KEYS = ("method", "methods", "reference")
"""Keys of a configuration below which a method's settings are."""

MAX_SETTINGS = 2**20
"""Most characters of config.yaml: YAML is parsed at about 100 KB a second."""
MAX_SETTING_VALUES = 100_000

Config = TypeVar("Config")


def typed_config(
    classes: Sequence[type[Config]],
    settings: Mapping[str, Any],
    *,
    complete: bool = False,
    what: str = "something",
) -> Config:
    """``settings`` as the dataclass of ``classes`` that has exactly these fields.

    A single class also takes some of its fields, and defaults for the rest, unless ``complete``.
    Text is taken literally: ``${x}`` is no interpolation. Errors name the settings by their field
    name, or by ``what``.

    Raises CalibError: a setting does not exist (unknown-setting), has a value that it does not take
    (invalid-setting), or no class has these fields (mismatch).
    """
    present = current_method_names(settings)
    fields = {cls: {field.name for field in dataclasses.fields(cls)} for cls in classes}  # type: ignore[arg-type]
    added = _added(present)
    exact = [cls for cls in classes if fields[cls] - added.keys() <= present.keys() <= fields[cls]]
    name = present.get("name", what)
    if not exact and (complete or len(classes) > 1):
        raise CalibError(
            "mismatch",
            f"the run's settings of '{name}' are not those of this version of calib. Run the sweep "
            "again with another out=FOLDER.",
        )
    cls = (exact or list(classes))[0]
    for key in present.keys() - fields[cls]:
        raise CalibError(
            "unknown-setting",
            f"'{name}' has no setting '{key}'.{did_you_mean(str(key), fields[cls])}",
        )
    if exact and present.keys() != fields[cls]:
        present |= {key: added[key] for key in fields[cls] - present.keys()}
    hints = typing.get_type_hints(cls)
    methods: dict[str, MethodConfig] = {
        key: typed_config(schemas_for("method", value), value)
        for key, value in present.items()
        if hints[key] is MethodConfig and isinstance(value, Mapping)
    }
    try:
        others = {
            key: literal(str(key), value) for key, value in present.items() if key not in methods
        }
        config = settings_objects(OmegaConf.merge(OmegaConf.structured(cls), others))
    except (OmegaConfBaseException, OverflowError) as error:
        raise CalibError("invalid-setting", f"'{name}': {str(error).splitlines()[0]}.") from None
    except RecursionError:
        raise CalibError("invalid-setting", f"'{name}': a value is nested too deeply.") from None
    return dataclasses.replace(typing.cast(Any, config), **methods)


def literal(key: str, value: Any) -> Any:
    """``value`` with every ``${`` escaped, which OmegaConf would interpolate; arrays as lists.

    Raises CalibError (invalid-setting) for what no configuration has, such as an object, which
    OmegaConf would write as text.
    """
    if isinstance(value, str | Path):
        return escaped_interpolations(str(value))
    if isinstance(value, Mapping):
        return {name: literal(key, part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [literal(key, part) for part in value]
    if hasattr(value, "tolist"):  # of numpy or torch; np.float64 is also a float
        return literal(key, value.tolist())
    if value is None or isinstance(value, bool | int | float):
        return value
    raise CalibError(
        "invalid-setting",
        f"{key}: {value!r:.80} is of type {type(value).__name__}. Give text, a number, true or "
        "false, null, a list or a table.",
    )


def parse_settings(text: str, path: Path) -> dict[str, Any]:
    """All settings of a sweep under their current names, from the content of config.yaml.

    Raises CalibError, naming ``path``, when the text is damaged or lacks a group of settings.
    """
    try:
        if len(text) > MAX_SETTINGS:
            raise ValueError(f"it has {len(text):,} characters; the limit is {MAX_SETTINGS:,}")
        # Not by OmegaConf, which copies a value for each reference to it, and references may nest.
        # Nothing is resolved: "${x}" in a prompt is text, not a variable.
        settings = yaml.load(text, get_yaml_loader())
        require_moderate(settings, MAX_SETTING_VALUES)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise CalibError(
            "unreadable", f"{path} cannot be read ({error}). Run the sweep's command again."
        ) from error
    wrong = _wrong_settings(settings)
    if wrong:
        raise CalibError(
            "invalid-content",
            f"{path} is no configuration of a sweep: check {', '.join(wrong)}. Run the sweep's "
            "command again.",
        )
    return current_names({str(key): value for key, value in settings.items()})


def _wrong_settings(settings: Any) -> list[str]:
    """The settings of a sweep that are missing or of another type."""
    if not isinstance(settings, dict):
        return ["the whole file"]
    groups = ("model", "method", "methods", "data", "utility", "judge", "generation")
    kinds: dict[str, Any] = dict.fromkeys(groups, dict) | {"seed": int, "mapping": str}
    wrong = [key for key, kind in kinds.items() if not isinstance(settings.get(key), kind)]
    if wrong:
        return wrong
    named = {"data": settings["data"], "method": settings["method"]}
    named |= {f"methods.{key}": method for key, method in settings["methods"].items()}
    named |= {"reference": settings["reference"]} if settings.get("reference") else {}
    unnamed = [
        f"{key}.name" for key, group in named.items()
        if not isinstance(group, dict) or not isinstance(group.get("name"), str)
    ]  # fmt: skip
    choose = settings.get("choose")
    return unnamed + ["choose"] * (not isinstance(choose, dict | None))


def current_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A run's stored settings (nested) with every renamed setting under its present name."""
    return _with_names(settings, RENAMED)


def former_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings (nested) with every renamed setting under its first name, without those that were
    added later and have the value from before.

    Digests of settings are made from these, so that a run keeps its folder across versions.
    """
    return _with_names(without_added(settings), {new: old for old, new in RENAMED.items()})


def without_added(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings (nested) without those of ADDED that have the value from before they existed."""

    def reduced(table: Mapping[str, Any]) -> dict[str, Any]:
        added = _added(table)
        return {
            key: reduced(value) if isinstance(value, Mapping) else value
            for key, value in table.items()
            if not ("name" in table and key in added and value == added[key])
        }

    return {
        key: reduced(value)
        if key in (*_METHOD_KEYS, "data", "utility", "model", "judge")
        and isinstance(value, Mapping)
        else value
        for key, value in settings.items()
        if not (key == "engine" and value == DEFAULT_ENGINE)
    }


def _added(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of ADDED by their last part, with the values for the method in ``settings``."""
    method = settings.get("file") or settings.get("name")
    added = {key.partition(".")[2]: value for key, value in ADDED.items()}
    return added | (ADDED_TO.get(method, {}) if isinstance(method, str) else {})


def current_method_names(method: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of one method, data set or model, with the present names of a method's."""
    return _renamed(method, _leaves(RENAMED))


def current_override(text: str) -> str:
    """A command-line override with the present name of its setting, e.g. method.otherwise=x for
    method.closed=x, and methods.NAME.otherwise=x for methods.NAME.closed=x."""
    key, equals, value = text.partition("=")
    group, _, rest = key.lstrip("+~").partition(".")
    *parts, leaf = rest.split(".")
    leaves = _leaves(RENAMED)
    if group not in _METHOD_KEYS or leaf not in leaves or (group == "methods" and not parts):
        return text
    return key[: len(key) - len(leaf)] + leaves[leaf] + equals + value


def _with_names(settings: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    leaves = _leaves(names)
    return {
        key: _renamed(value, leaves)
        if key in _METHOD_KEYS and isinstance(value, Mapping)
        else value
        for key, value in settings.items()
    }


def _leaves(names: Mapping[str, str]) -> dict[str, str]:
    return {old.partition(".")[2]: new.partition(".")[2] for old, new in names.items()}


def _renamed(settings: Mapping[str, Any], leaves: Mapping[str, str]) -> dict[str, Any]:
    # A method's settings have a name; other tables in it have keys of the user's own.
    is_method = "name" in settings
    return {
        leaves.get(key, key) if is_method else key: _renamed(value, leaves)
        if isinstance(value, Mapping)
        else value
        for key, value in settings.items()
    }
