"""Code on the project's pages, and commands in text, notebooks and comments of conf/.

    blocks()      # every block of code: page, language, text
    commands()    # every command, with the pages that show it

A block holds commands if its fence says so, or if it begins with a known program and has no other
language.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    "README.md", "CONTRIBUTING.md", "docs/**/*.md", "experiments/*/README.md",
    "benchmarks/README.md", "notebooks/*.ipynb", "notebooks/*.md",
)  # fmt: skip
PROGRAMS = (
    "calib", "python", "make", "pip", "curl", "git", "cd", "export", "hf", "jupyter", "vllm",
    "inspect", "lm-eval", "llama-cli", "llama-mtmd-cli", "OPENAI_API_KEY=none",
)  # fmt: skip
SHELL = ("bash", "sh", "shell", "console")
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"(?:\A|\n\n)((?:    .*\n|\n(?=    ))+)")
INLINE = re.compile(r"`((?:python3?(?! -m`)|make|pip|git|hf) [^`]*)`")
COMMENT = re.compile(r"""((?:"[^"]*"|'[^']*'|[^"'#]|(?<=\S)#)*)""")
"""A line up to its comment: a # after a space, outside quotes."""


class Block(NamedTuple):
    """A fenced or indented block of code."""

    page: str
    language: str
    """From the fence; empty without one."""
    text: str

    @property
    def first_line(self) -> str:
        return self.text.strip().split("\n")[0].strip()

    @property
    def is_shell(self) -> bool:
        if self.language in ("", "text"):
            return self.first_line.removeprefix("$ ").split(" ")[0] in PROGRAMS
        return self.language in SHELL


def pages() -> Iterator[tuple[str, str]]:
    """The path and the Markdown of every page; for a notebook, of its Markdown cells."""
    for pattern in PAGES:
        for path in sorted(ROOT.glob(pattern)):
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".ipynb":
                cells = json.loads(text)["cells"]
                sources = ("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
                text = "\n\n".join(sources)
            yield str(path.relative_to(ROOT)), text


def blocks() -> list[Block]:
    found = []
    for page, text in pages():
        rest = FENCE.sub("\n", text) + "\n"
        found += [Block(page, match[2], dedent(match[3])) for match in FENCE.finditer(text)]
        found += [Block(page, "", dedent(match[1])) for match in INDENTED.finditer(rest)]
    return found


def commands() -> dict[str, list[str]]:
    """Every shown command without its comment, with the pages that show it."""
    shown = [(b.page, line) for b in blocks() if b.is_shell for line in commands_in(b.text)]
    for page, text in pages():
        inline = INLINE.finditer(re.sub(r"^    .*$", "", FENCE.sub("", text), flags=re.MULTILINE))
        shown += [(page, " ".join(match[1].split())) for match in inline]
    for path in sorted((ROOT / "conf").rglob("*.yaml")):
        shown += [(str(path.relative_to(ROOT)), line) for line in _commands_in_conf(path)]
    pages_of: dict[str, list[str]] = defaultdict(list)
    for page, command in dict.fromkeys(shown):
        pages_of[command].append(page)
    return dict(pages_of)


def commands_in(text: str) -> list[str]:
    """The commands of a shell block, with continued lines joined."""
    lines = re.sub(r"\\\n\s*", "", text).split("\n")
    bare = (COMMENT.match(line.strip().removeprefix("$ "))[1].rstrip() for line in lines)
    return [line for line in bare if line]


def _commands_in_conf(path: Path) -> list[str]:
    """Commands in a file's comments and in the text of --help, where they are indented."""
    text = path.read_text(encoding="utf-8")
    indented = re.findall(r"^#   (.*)$", text, re.MULTILINE)
    header = (yaml.safe_load(text).get("hydra") or {}).get("help", {}).get("header", "")
    indented += re.findall(r"^  (.*)$", header, re.MULTILINE)
    lines = commands_in("\n".join(indented))
    return [line for line in lines if line.split(" ")[0] in PROGRAMS]  # others are tables
