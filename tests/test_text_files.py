"""Text is UTF-8 everywhere: without an encoding, Python on Windows uses that of the machine."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("calib", "experiments", "benchmarks", "tests")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def unnamed(source):
    """Lines of calls that read or write text without an encoding, in Python code."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return sorted(call.lineno for call in calls if _needs_encoding(call))


def _needs_encoding(call):
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in given or None in given:
        return False
    if name in ("run", "Popen", "check_output"):
        values = [given.get(key) for key in ("text", "universal_newlines")]
        return any(isinstance(value, ast.Constant) and value.value for value in values)
    is_method = isinstance(call.func, ast.Attribute)
    if name == "read_text":
        return is_method and not call.args
    if name == "write_text":
        return is_method and len(call.args) == 1
    if name not in ("open", "NamedTemporaryFile", "TextIOWrapper"):
        return False
    if isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", "") in NOT_FILES:
        return False
    at = 1 if isinstance(call.func, ast.Name) else 0
    mode = given.get("mode", call.args[at] if len(call.args) > at else ast.Constant("r"))
    return not (isinstance(mode, ast.Constant) and "b" in str(mode.value))


NOT_FILES = ("Image", "os", "tarfile", "archive", "RowStore", "self", "gate")
"""Names whose ``open`` opens no text file."""


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("path.read_text()", True),
        ("path.read_text(encoding='utf-8')", False),
        ("path.read_text('utf-8')", False),
        ("path.write_text('a')", True),
        ("path.open()", True),
        ("path.open('w', newline='')", True),
        ("path.open('rb')", False),
        ("open(path, 'rb')", False),
        ("open(path)", True),
        ("subprocess.run(command, text=True)", True),
        ("subprocess.run(command, encoding='utf-8')", False),
        ("command.run(main, text=command.text)", False),
        ("Image.open(path)", False),
    ],
)
def test_the_search(line, found):
    assert unnamed(line) == [1] * found


def test_every_text_file_has_an_encoding():
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in FILES
        for line in unnamed(path.read_text(encoding="utf-8"))
    ]
    assert FILES and found == []
