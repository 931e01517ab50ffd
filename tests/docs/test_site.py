"""The site: every page and link, no other host, and the reference of the library."""

import re
from pathlib import Path

import pytest

import calib

ROOT = Path(__file__).resolve().parents[2]
LOADED = re.compile(
    r"""<(?:script|img|iframe|source|link)\b[^>]*\b(?:src|href)=["']?(https?:)?//[^>]*>"""
)
"""Elements for which a browser sends a request to another host."""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site. MkDocs ends with an error at a wrong link, file or anchor (strict)."""
    pytest.importorskip("mkdocs", reason="the docs extra brings mkdocs")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
    build(config)
    return folder


def test_every_page_is_in_the_site_and_its_navigation(site):
    navigation = (site / "docs/tutorial.html").read_text(encoding="utf-8")
    for page in sorted((ROOT / "docs").glob("*.md")):
        name = page.stem if page.stem != "README" else "index"
        assert (site / "docs" / f"{name}.html").is_file()
        assert f'href="{name}.html"' in navigation or page.stem == "tutorial"
    assert (site / "notebooks/ten_minutes.html").is_file()


def test_the_site_loads_nothing_from_other_hosts(site):
    pages = list(site.rglob("*.html"))
    loaded = {tag for page in pages for tag in LOADED.findall(page.read_text(encoding="utf-8"))}
    assert len(pages) > 30 and loaded == set()
    styles = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    assert not [text for text in styles if re.search(r"url\([\"']?(https?:)?//", text)]


def test_the_reference_describes_every_public_name(site):
    page = (site / "docs/reference.html").read_text(encoding="utf-8")
    missing = [name for name in calib.__all__ if f'id="calib.{name}"' not in page]
    described = [name for name in calib.__all__ if f"calib.{name}" in page]
    assert missing == [] and described
