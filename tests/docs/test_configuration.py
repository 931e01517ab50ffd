"""docs/configuration.md is what the schemas and conf/ say, and leaves nothing out."""

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
    """The page's text by its headings."""
    parts = re.split(r"^#{1,4} (.*)\n", page(), flags=re.MULTILINE)
    titles = parts[1::2]
    assert len({anchor(title) for title in titles}) == len(titles), "two headings, one anchor"
    return dict(zip(titles, parts[2::2], strict=True))


def rows(section: str) -> dict[str, list[str]]:
    """The rows of a section's tables, by what their first cell names."""
    found = {}
    for line in section.splitlines():
        if line.startswith("| ") and "`" in line:
            cells = re.split(r"(?<!\\) \| ", line.strip("| "))
            found[re.search(r"`(.+?)`", cells[0])[1]] = cells
    return found


def test_the_page_is_what_would_be_written():
    assert PAGE.read_text() == page(), (
        "docs/configuration.md says something else than the schemas. Write it again: "
        "python tests/configuration_page.py"
    )


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_every_setting_of_a_command_is_there_once_with_its_meaning(sections, name):
    shown = rows(sections[f"calib.{name}"])
    for field in dataclasses.fields(ENTRY_POINTS[name]):
        found = [
            key for key in (field.name, f"{field.name}=", f"method@{field.name}=") if key in shown
        ]
        assert len(found) == 1, f"{name}: {field.name} is there {len(found)} times"
        assert shown[found[0]][-1].strip().endswith((".", ")", "?")), field.name


@pytest.mark.parametrize("group", groups())
def test_every_option_is_there_with_what_it_is_and_where_its_settings_are(sections, group):
    shown = rows(sections[f"{group}="])
    assert set(shown) == {path.stem for path in (CONF / group).glob("*.yaml")}
    for option, cells in shown.items():
        assert len(cells[1]) > 20 and cells[1].endswith("."), f"{group}={option} says too little"
    if group not in GROUPS:
        return
    for option, cells in shown.items():
        schema = schema_of(CONF / group / f"{option}.yaml", group)
        described = {
            key: row for title in re.findall(r"#(\w+)\)", cells[-1]) for key, row in
            rows(next(text for head, text in sections.items() if anchor(head) == title)).items()
        }  # fmt: skip
        assert described.keys() == {field.name for field in dataclasses.fields(schema)}, option


def test_what_an_option_sets_is_what_composing_it_gives(sections):
    chosen = {"method": "astra", "data": "mini", "model": "gpt", "utility": "pope"}
    whole = composed("sweep", *(f"{group}={option}" for group, option in chosen.items()))
    for group, option in chosen.items():
        config = getattr(whole, group)
        assert type(config) is schema_of(CONF / group / f"{option}.yaml", group)
        said = dict(re.findall(r"`(\w+)=([^`]*)`", rows(sections[f"{group}="])[option][2]))
        assert said
        for key, value in said.items():
            real = written(getattr(config, key))
            assert value in (real, "...") and (value != "..." or len(real) > 40), (option, key)


def test_links_lead_somewhere(sections):
    anchors = {anchor(title) for title in sections}
    for target in re.findall(r"\]\(([^)]*)\)", page()):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        else:
            assert (PAGE.parent / target).is_file(), target


def test_a_setting_without_words_beneath_it_is_refused():
    @dataclass
    class Bare:
        mute: int = 3

    with pytest.raises(KeyError, match=r"Bare.mute has no meaning"):
        settings(Bare)


def test_a_default_that_a_command_changes_in_part_is_shown(sections):
    assert "`max_new_tokens=512`" in rows(sections["calib.serve"])["generation"][2]
    assert "512" not in rows(sections["calib.sweep"])["generation"][2]


def test_a_setting_stands_in_the_table_of_the_class_that_has_it_first():
    for schema in (one for several in GROUPS.values() for one in several.values()):
        above = {f.name for base in lineage(schema)[1:] for f in dataclasses.fields(base)}
        again = above & {row.name for row in settings(schema)}
        # Steer says more about its strengths than all methods do.
        assert again <= {"strengths"}, f"{schema.__name__} says {again} again"


def test_every_field_that_is_a_group_is_known_as_one():
    for name, schema in ENTRY_POINTS.items():
        for field in dataclasses.fields(schema):
            if field.name in GROUPS:
                assert group_of(field.type) == field.name, (name, field.name)


def test_a_cell_holds_no_markdown_by_accident():
    assert sentence("a | b\n <c> *d*") == r"a \| b &lt;c> \*d\*"
    assert code("a|b") == r"`a\|b`"


def test_files_of_conf_name_the_classes_that_they_are_checked_by():
    for path in sorted(CONF.rglob("*.yaml")):
        text = re.sub(r"\s*\n#\s*", " ", path.read_text())
        for name, file in re.findall(r"([A-Z]\w+) in (calib/\w+\.py)", text):
            source = (CONF.parent / file).read_text()
            assert f"class {name}" in source, f"{path.name}: {name} is not in {file}"
