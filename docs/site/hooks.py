"""Hooks of MkDocs: pages outside docs/, notebooks, navigation, and the reference of the library.

The site has the paths of the repository, so the pages' relative links hold as they are. Pages are
those of docs/ and what they link to; other files that a page links to are copied, folders become
their README.md, and a folder without one its list of files.
"""

import json
import re
import sys
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Any
from urllib.parse import unquote

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = "docs/reference.md"
STYLE = ".md-grid { max-width: 76rem; }"
"""Wide enough for the commands' tables, of 100 columns."""
LINK = re.compile(r"(\]\()([^)\s#]+)([^)\s]*\))")
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.DOTALL | re.MULTILINE)

sys.path.insert(0, str(ROOT))


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """The pages of docs/ at their paths in the repository, and every file that they link to."""
    found = Files([file for file in files if not (ROOT / "docs" / file.src_uri).is_file()])
    waiting = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
    for name in waiting:  # grows while pages are read
        path = ROOT / name
        if name in found.src_uris:
            continue
        text = _markdown(path) if path.suffix in (".md", ".ipynb") or path.is_dir() else None
        if text is None:
            found.append(File.generated(config, name, abs_src_path=str(path)))
            continue
        uri = _page(name)
        if uri not in found.src_uris:
            found.append(File.generated(config, uri, content=_rewritten(text, uri)))
            waiting += _targets(text, uri)
    found.append(File.generated(config, REFERENCE, content=_reference()))
    found.append(File.generated(config, "site.css", content=STYLE))
    return found


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The navigation: the tables of docs/README.md, with their titles."""
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    nav: list[Any] = [{"calib": "README.md"}, {"Documentation": "docs/README.md"}]
    for table in index.split("\n\n"):
        heading = re.match(r"\| ([^|]+) \| \|\n", table)
        if heading:
            links = re.findall(r"\[([^\]]+)\]\(([^)#]+)\)", table)
            pages = {_page(normpath(f"docs/{target}")): title for title, target in reversed(links)}
            entries = [{title: uri} for uri, title in reversed(pages.items())]
            nav.append({heading[1].capitalize(): entries})
    nav.insert(2, {"Reference of the library": REFERENCE})
    config.nav = nav
    return config


def _page(name: str) -> str:
    """The page of a file or folder of the repository."""
    path = PurePosixPath(name)
    if (ROOT / path).is_dir():
        return str(path / "README.md")
    return str(path.with_suffix(".md")) if path.suffix == ".ipynb" else str(path)


def _targets(text: str, page: str) -> list[str]:
    """The files and folders that a page links to."""
    links = LINK.findall(CODE.sub("", text)) + re.findall(r'(src=")([^"]+)(")', text)
    targets = [_target(link, page) for _, link, _ in links]
    return [target for target in targets if target is not None]


def _target(link: str, page: str) -> str | None:
    if re.match(r"[a-z]+:", link):
        return None
    target = normpath(str(PurePosixPath(page).parent / unquote(link)))
    return target if (ROOT / target).exists() else None


def _rewritten(text: str, page: str) -> str:
    """Links to folders and notebooks lead to their pages."""

    def rewrite(match: re.Match[str]) -> str:
        target = _target(match[2], page)
        if target is None or _page(target) == target:
            return match[0]
        ups = "../" * len(PurePosixPath(page).parent.parts)
        return f"{match[1]}{ups}{_page(target)}{match[3]}"

    return LINK.sub(rewrite, text)


def _markdown(path: Path) -> str:
    if path.suffix == ".ipynb":
        return _notebook(json.loads(path.read_text(encoding="utf-8"))["cells"])
    if path.is_dir() and not (path / "README.md").is_file():
        names = [f"{each.name}/" if each.is_dir() else each.name for each in sorted(path.iterdir())]
        shown = [name for name in names if not name.startswith((".", "__pycache__"))]
        return "\n".join([f"# {path.name}\n", *(f"- `{name}`" for name in shown)])
    return (path / "README.md" if path.is_dir() else path).read_text(encoding="utf-8")


def _notebook(cells: list[dict[str, Any]]) -> str:
    """The cells of an executed notebook, with text and pictures that they produced."""
    parts = []
    for cell in cells:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {"text/plain": output.get("text", [])})
            if "image/png" in data:
                picture = "".join(data["image/png"]).replace("\n", "")
                parts.append(f'<img alt="Output" src="data:image/png;base64,{picture}">')
            elif text := "".join(data.get("text/plain", [])).rstrip():
                parts.append(f"```text\n{text}\n```")
    return "\n\n".join(parts)


def _reference() -> str:
    """Every public name of the library."""
    import calib

    names = "\n\n".join(f"::: calib.{name}" for name in calib.__all__)
    intro = "The names of `import calib`. [From Python](library.md) shows them at work."
    return f"# Reference of the library\n\n{intro}\n\n{names}\n"
