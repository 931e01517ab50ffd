"""docs/architecture.md agrees with the import contract and with the code."""

import ast
import re

from architecture_page import PAGE, PICTURE, ROOT, described, picture, rooms, turns_back, walk


def imports(file: str) -> set[str]:
    """The files of calib that a file imports, also inside functions."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {module.replace(".", "/") + ".py" for module in modules}


def test_every_room_of_the_contract_is_described_in_order():
    names = [layer[0] for layer in rooms() if len(layer) == 1]
    assert list(described()) == names


def test_the_picture_is_drawn_from_the_contract():
    assert PICTURE.read_text(encoding="utf-8") == picture()


def test_each_file_of_the_walk_is_reached_from_an_earlier_one():
    files = walk()
    assert len(files) == len(set(files)) <= 27
    reached = imports(files[0])
    discovered = {"calib/methods/steer.py", "calib/judges/rules.py", "calib/scoring/metrics/sra.py"}
    for file in files[1:]:
        assert (ROOT / file).is_file()
        assert file in reached | discovered, file
        reached |= imports(file)


def test_the_walk_turns_back_where_the_page_says():
    files = walk()
    last = PAGE.read_text(encoding="utf-8").rpartition("Control returns to")[2]
    stated = [files[int(number) - 1] for number in re.findall(r"\b\d+\b", last)]
    assert stated == turns_back(files)
    assert len(stated) <= 4
