"""docs/configuration.md agrees with the schemas and conf/, and is complete."""

import dataclasses
import re
from dataclasses import dataclass

import pytest
from composing import composed
from configuration_page import PAGE, groups, page
from configuration_settings import lineage, schema_of, settings
from configuration_words import anchor, code, group_of, sentence, written

from calib.config.schemas import CONF, ENTRY_POINTS, GROUPS


@pytest.fixture(scope="module")
def sections() -> dict[str, str]:
    """The text of the page, by heading."""
    parts = re.split(r"^#{1,4} (.*)\n", page(), flags=re.MULTILINE)
    titles = parts[1::2]
    assert len({anchor(title) for title in titles}) == len(titles), "two headings, one anchor"
    return dict(zip(titles, parts[2::2], strict=True))


def rows(section: str) -> dict[str, list[str]]:
    """The rows of a section's tables, by the name in the first cell."""
    by_name = {}
    for line in section.splitlines():
        if line.startswith("| ") and "`" in line:
            cells = re.split(r"(?<!\\) \| ", line.strip("| "))
            by_name[re.search(r"`(.+?)`", cells[0])[1]] = cells
    return by_name


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "docs/configuration.md is out of date. Run: python tests/support/configuration_page.py"
    )


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_every_setting_of_a_command_is_listed_once_with_its_meaning(sections, name):
    shown = rows(sections[f"calib.{name}"])
    for field in dataclasses.fields(ENTRY_POINTS[name]):
        keys = [
            key for key in (field.name, f"{field.name}=", f"method@{field.name}=") if key in shown
        ]
        assert len(keys) == 1, f"{name}: {field.name} is listed {len(keys)} times"
        assert shown[keys[0]][-1].strip().endswith((".", ")", "?")), field.name


@pytest.mark.parametrize("group", groups())
def test_every_option_is_listed_with_its_meaning_and_its_settings(sections, group):
    shown = rows(sections[f"{group}="])
    assert set(shown) == {path.stem for path in (CONF / group).glob("*.yaml")}
    for option, cells in shown.items():
        assert len(cells[1]) > 20 and cells[1].endswith("."), f"{group}={option} is not explained"
    if group not in GROUPS:
        return
    for option, cells in shown.items():
        schema = schema_of(CONF / group / f"{option}.yaml", group)
        described = {
            key: row for title in re.findall(r"#(\w+)\)", cells[-1]) for key, row in
            rows(next(text for head, text in sections.items() if anchor(head) == title)).items()
        }  # fmt: skip
        assert described.keys() == {field.name for field in dataclasses.fields(schema)}, option


def test_the_listed_values_of_an_option_are_those_of_its_configuration(sections):
    options = {"method": "astra", "data": "mini", "model": "gpt", "utility": "pope"}
    sweep = composed("sweep", *(f"{group}={option}" for group, option in options.items()))
    for group, option in options.items():
        config = getattr(sweep, group)
        assert type(config) is schema_of(CONF / group / f"{option}.yaml", group)
        listed = dict(re.findall(r"`(\w+)=([^`]*)`", rows(sections[f"{group}="])[option][2]))
        assert listed
        for key, value in listed.items():
            actual = written(getattr(config, key))
            assert value in (actual, "...") and (value != "..." or len(actual) > 40), (option, key)


def test_every_link_has_a_target(sections):
    anchors = {anchor(title) for title in sections}
    for target in re.findall(r"\]\(([^)]*)\)", page()):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        else:
            assert (PAGE.parent / target).is_file(), target


def test_a_setting_without_a_meaning_is_refused():
    @dataclass
    class Bare:
        mute: int = 3

    with pytest.raises(KeyError) as error:
        settings(Bare)
    assert "Bare.mute" in str(error.value)


def test_defaults_that_a_command_changes_are_listed(sections):
    assert "`max_new_tokens=512`" in rows(sections["calib.serve"])["generation"][2]
    assert "512" not in rows(sections["calib.sweep"])["generation"][2]


def test_a_setting_is_in_the_table_of_the_class_that_introduces_it():
    for schema in (cls for group in GROUPS.values() for cls in group.values()):
        inherited = {f.name for base in lineage(schema)[1:] for f in dataclasses.fields(base)}
        repeated = inherited & {row.name for row in settings(schema)}
        # Steer explains the unit of its strengths; SelfCheck has places of its own.
        assert repeated <= {"strengths", "place"}, f"{schema.__name__} repeats {repeated}"


def test_every_field_named_like_a_group_has_options_of_that_group():
    for name, schema in ENTRY_POINTS.items():
        for field in dataclasses.fields(schema):
            if field.name in GROUPS:
                assert group_of(field.type) == field.name, (name, field.name)


def test_markdown_in_a_cell_is_escaped():
    assert sentence("a | b\n <c> *d*") == r"a \| b &lt;c> \*d\*"
    assert code("a|b") == r"`a\|b`"


def test_files_of_conf_name_their_classes():
    named = {}
    for path in sorted(CONF.rglob("*.yaml")):
        text = re.sub(r"\s*\n#\s*", " ", path.read_text(encoding="utf-8"))
        for name, file in re.findall(r"([A-Z]\w+) in (calib/[\w/]+\.py)", text):
            named[path] = name
            source = (CONF.parent / file).read_text(encoding="utf-8")
            assert f"class {name}" in source, f"{path.name}: {name} is not in {file}"
    assert len(named) > 50
