"""Draw docs/architecture.svg from the import contract, and read the walk of docs/architecture.md.

Run it to write the picture again:

    python tests/support/architecture_page.py
"""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
PICTURE = ROOT / "docs" / "architecture.svg"
ROW, WIDTH = 34, 720
"""Height of a room and width of the picture, in pixels."""


def rooms() -> list[list[str]]:
    """The layers of the import contract, from the doors (without the console script) down."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = config["tool"]["importlinter"]["contracts"]
    layers = [[name.strip() for name in layer.split("|")] for layer in contract["layers"]]
    return [names for names in layers if names != ["__main__"]]


def described() -> dict[str, str]:
    """The table of rooms on the page: name and purpose."""
    text = PAGE.read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `([a-z]+)/?` \| ([^|]+) \|$", text, re.MULTILINE))


def walk() -> list[str]:
    """The files of the walk, in order."""
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(r"^\d+\. `(calib/[\w/]+\.py)`", text, re.MULTILINE)


def turns_back(files: list[str]) -> list[str]:
    """The files at which the walk returns to a room above that it has been in before."""
    level = {name: k for k, names in enumerate(rooms()) for name in names}
    levels = [level[Path(file).parts[1].removesuffix(".py")] for file in files]
    return [
        files[k]
        for k in range(1, len(levels))
        if levels[k] < levels[k - 1] and levels[k] in levels[:k]
    ]


def picture() -> str:
    """The rooms from top to bottom, the doors in one row; imports point down only."""
    purposes = described()
    height = ROW * len(rooms()) + 44
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'font-family="sans-serif" font-size="13">',
        "<title>The rooms of calib; imports point down</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for k, names in enumerate(rooms()):
        y = 12 + k * ROW
        doors = len(names) > 1
        text = " · ".join(names) if doors else purposes[names[0]].strip()
        left = "doors" if doors else names[0]
        lines += [
            f'<rect x="44" y="{y}" width="{WIDTH - 56}" height="{ROW - 6}" rx="4" '
            f'fill="{"#e8eef7" if k % 2 else "#f4f6fa"}" stroke="#8796ad"/>',
            f'<text x="56" y="{y + 19}" font-weight="bold">{left}</text>',
            f'<text x="170" y="{y + 19}" font-size="12">{text.replace("&", "&amp;")}</text>',
        ]
    end = 12 + len(rooms()) * ROW - 10
    lines += [
        f'<path d="M24 14 V{end} M18 {end - 9} L24 {end} L30 {end - 9}" fill="none" '
        'stroke="#44546a" stroke-width="2"/>',
        f'<text x="44" y="{height - 10}" font-size="12">Imports point down: a room knows the rooms '
        "below it and none above.</text>",
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
