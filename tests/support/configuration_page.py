"""The reference of every command's settings and every group's options, from the schemas and conf/.

    python tests/configuration_page.py

writes docs/configuration.md. tests/docs/test_configuration.py fails where the page says something
else, and where a setting has no meaning.
"""

import dataclasses
import typing
from pathlib import Path
from typing import Any

import yaml
from configuration_settings import (
    Setting,
    default_of,
    fields_of,
    has_default,
    lineage,
    nested,
    schema_of,
    settings,
)
from configuration_words import (
    code,
    comment,
    file_link,
    link,
    sentence,
    table,
    written,
)

from calib.cli.help import meanings
from calib.config.schemas import CONF, ENTRY_POINTS, GROUPS

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
LONGEST = 60
"""A setting with more characters is not written out: its option's file has it."""

WHAT = {
    "model": "What is calibrated.",
    "method": "How it is calibrated.",
    "data": "The safety queries: what is refused and what is answered.",
    "utility": "Questions with one right answer, which measure helpfulness.",
    "judge": "Who says what a response is.",
    "experiment": "Several methods in one run.",
}
"""What each group is; a new one needs its line."""

OPENING = """\
# Every setting

    python -m calib.COMMAND GROUP=OPTION GROUP.SETTING=VALUE SETTING=VALUE

`method=steer` chooses an option of a group, `method.layers=[3]` changes one of its settings,
`seed=1` one of the command's own. Lists are `[a,b]`, nothing is `null`; a value that holds `=`,
spaces, commas or brackets is quoted twice: `'out="my runs/a=b"'`. `--cfg job` behind a command
shows what it would run with. Settings with *must be given* as their default have none.

This page is written by `python tests/configuration_page.py` from the schemas in `calib/config*.py`
and the files in `conf/`, and CI checks that it is what that would write.
"""


def page() -> str:
    """The whole page, in Markdown."""
    parts = [OPENING, contents()]
    parts += ["## Commands\n", *(command(name) for name in ENTRY_POINTS)]
    parts += [shared(schema) for schema in nested()]
    parts += ["## Groups\n", *(group(name) for name in groups())]
    return "\n".join(parts)


def contents() -> str:
    commands = ", ".join(link(f"calib.{name}") for name in ENTRY_POINTS)
    several = ", ".join(link(f"{name}=") for name in groups())
    return f"- Commands: {commands}\n- Groups: {several}\n"


def groups() -> list[str]:
    """The folders of conf/ that hold options; those with a schema first."""
    folders = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name != "hydra")
    return [*GROUPS, *(name for name in folders if name not in GROUPS)]


def command(name: str) -> str:
    """A command: what it does, the groups it chooses from, and its own settings."""
    path = CONF / f"{name}.yaml"
    what = comment(path).removeprefix(f"calib.{name}: ")
    parts = [f"### calib.{name}\n", f"{what[0].upper()}{what[1:]}\n"]
    given = yaml.safe_load(path.read_text())
    chosen = choices(given["defaults"])
    if chosen:
        said = meanings(ENTRY_POINTS[name])
        rows = []
        for one in chosen:
            meaning = sentence(said.get(one.field, WHAT[one.group]))
            rows.append((code(one.written), link(f"{one.group}="), one.default, meaning))
        parts.append(table(("choice", "options", "default", "meaning"), rows))
    own = {key: value for key, value in given.items() if key not in ("defaults", "hydra")}
    rows = settings(ENTRY_POINTS[name], own, without={one.field for one in chosen})
    if rows:
        parts.append(settings_table(rows))
    return "\n".join(parts)


@dataclasses.dataclass(frozen=True)
class Choice:
    """A line of a defaults list that takes an option of a group."""

    written: str
    group: str
    field: str
    default: str


def choices(defaults: list[Any]) -> list[Choice]:
    found = []
    for entry in defaults:
        ((key, value),) = entry.items() if isinstance(entry, dict) else ((entry, None),)
        named = key.removeprefix("optional ").lstrip("/")
        of, _, place = named.partition("@")
        if isinstance(entry, dict) and of in groups():
            default = "none" if value is None else code(value)
            found.append(Choice(f"{named}=", of, place or of, default))
    return found


def group(name: str) -> str:
    """A group: its options, and the settings of each schema they extend."""
    options = sorted((CONF / name).glob("*.yaml"))
    parts = [f"### {name}=\n", f"{WHAT[name]}\n"]
    if name not in GROUPS:
        rows = [(file_link(path), comment(path)) for path in options]
        return "\n".join([*parts, table(("option", "what it is"), rows)])
    rows = []
    for path in options:
        schema = schema_of(path, name)
        chain = ", ".join(link(cls.__name__) for cls in lineage(schema) if settings(cls))
        rows.append((file_link(path), comment(path), sets(path, schema), chain))
    head = ("option", "what it is", "sets", "its settings")
    parts.append(table(head, rows))
    for schema in schemas(name):
        if rows := settings(schema):
            parts += [f"#### {schema.__name__}\n", f"{about(schema)}\n", settings_table(rows)]
    return "\n".join(parts)


def schemas(name: str) -> list[type]:
    """The dataclasses of a group, each behind those it extends."""
    found: dict[type, None] = {}
    for schema in GROUPS[name].values():
        found |= dict.fromkeys(reversed(lineage(schema)))
    return list(found)


def sets(path: Path, schema: type) -> str:
    """What an option sets that is not the default of where the setting is described."""
    given = yaml.safe_load(path.read_text())
    values = {f.name: default_of(f) for f in dataclasses.fields(schema) if has_default(f)}
    for choice in choices(given.pop("defaults")):
        values[choice.field] = choice.default.strip("`")
    values |= given
    shown = []
    for key, value in values.items():
        usual = described(schema, key)
        if (key, value) == ("name", path.stem) or (
            has_default(usual) and value == default_of(usual)
        ):
            continue
        said = f"{key}={written(value)}"
        shown.append(code(said if len(said) <= LONGEST else f"{key}=..."))
    return " ".join(shown)


def described(schema: type, key: str) -> dataclasses.Field:
    """The field of the class in whose table the setting stands."""
    for cls in lineage(schema):
        if key in {row.name for row in settings(cls)}:
            return fields_of(cls)[key]
    raise KeyError(f"{schema.__name__} has no setting {key}")


def shared(schema: type) -> str:
    users = [
        f"`{field}` of {link(f'calib.{name}' if schemas_ is ENTRY_POINTS else used.__name__)}"
        for schemas_ in (ENTRY_POINTS, *GROUPS.values())
        for name, used in schemas_.items()
        for field, hint in typing.get_type_hints(used).items()
        if schema in (hint, *typing.get_args(hint))
    ]
    said = f"{about(schema)} Settings of {', '.join(users)}.".lstrip()
    return f"### {schema.__name__}\n\n{said}\n\n{settings_table(settings(schema))}"


def about(schema: type) -> str:
    """A schema's docstring, which options have it, and what else they have."""
    said = sentence((schema.__doc__ or "").strip().partition("\n\n")[0])
    if said.startswith(f"{schema.__name__}("):  # what dataclasses put there
        said = ""
    users = [
        code(path.stem)
        for name, several in GROUPS.items()
        if any(issubclass(one, schema) for one in several.values())
        for path in sorted((CONF / name).glob("*.yaml"))
        if issubclass(schema_of(path, name), schema)
    ]
    everything = [
        name
        for name, several in GROUPS.items()
        if all(issubclass(one, schema) for one in several.values())
    ]
    if everything:
        who = f"Settings of every `{everything[0]}=`."
    else:
        who = f"Settings of {', '.join(users)}." if users else ""
    above = [link(cls.__name__) for cls in lineage(schema)[1:] if settings(cls)]
    more = f"They also have those of {', '.join(above)}." if above else ""
    return " ".join(filter(None, (said, who, more)))


def settings_table(rows: list[Setting]) -> str:
    cells = [(code(row.name), row.type, row.default, row.meaning) for row in rows]
    return table(("setting", "type", "default", "meaning"), cells)


def main() -> None:
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
