"""Every command and every Python block that the project's pages and configuration files show.

A block of code counts as commands when its fence says so, or when its first line begins with a
program that is known here; a block that is neither is listed by its page and its first line.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    "README.md", "CONTRIBUTING.md", "docs/**/*.md", "experiments/*/README.md",
    "benchmarks/README.md", "notebooks/*.ipynb", "notebooks/*.md",
)  # fmt: skip
PROGRAMS = (
    "python", "make", "pip", "git", "cd", "export", "hf", "jupyter", "vllm", "inspect", "lm-eval",
    "llama-cli", "llama-mtmd-cli", "OPENAI_API_KEY=none",
)  # fmt: skip
SHELL = ("bash", "sh", "shell", "console")
PYTHON = ("python", "py")
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`((?:python3?(?! -m`)|make|pip|git|hf) [^`]*)`")


@dataclass(frozen=True)
class Block:
    """Code on a page."""

    page: str
    language: str
    """Of its fence; empty for none and for an indented block."""
    text: str

    @property
    def first(self) -> str:
        return self.text.strip().split("\n")[0].strip()


def texts() -> Iterator[tuple[str, str]]:
    """The pages with their Markdown; of a notebook its Markdown cells."""
    for pattern in PAGES:
        for path in sorted(ROOT.glob(pattern)):
            text = path.read_text()
            if path.suffix == ".ipynb":
                cells = [one for one in json.loads(text)["cells"] if one["cell_type"] == "markdown"]
                text = "\n\n".join("".join(one["source"]) for one in cells)
            yield str(path.relative_to(ROOT)), text


def blocks() -> list[Block]:
    """The blocks of code of all pages."""
    return [block for page, text in texts() for block in blocks_of(page, text)]


def blocks_of(page: str, text: str) -> list[Block]:
    """Fenced blocks and indented ones."""
    fenced = [Block(page, match[2], _flush(match[3])) for match in FENCE.finditer(text)]
    rest = FENCE.sub("\n", text)
    return fenced + [
        Block(page, "", _flush(match[1]))
        for match in re.finditer(r"(?:\A|\n\n)((?:    .*\n|\n(?=    ))+)", rest + "\n")
    ]


def is_shell(block: Block) -> bool:
    """Whether a block holds commands."""
    if block.language not in ("", "text"):
        return block.language in SHELL
    return block.first.removeprefix("$ ").split(" ")[0] in PROGRAMS


def commands() -> dict[str, list[str]]:
    """Every command that is shown, without comments, with the pages that show it."""
    found: dict[str, list[str]] = {}
    for page, command in [*_on_pages(), *_in_lines(), *_in_conf()]:
        pages = found.setdefault(command, [])
        if page not in pages:
            pages.append(page)
    return found


def _on_pages() -> Iterator[tuple[str, str]]:
    for block in filter(is_shell, blocks()):
        yield from ((block.page, one) for one in commands_of(block.text))


def _in_lines() -> Iterator[tuple[str, str]]:
    """Commands within running text and tables."""
    for page, text in texts():
        text = re.sub(r"^    .*$", "", FENCE.sub("", text), flags=re.MULTILINE)
        yield from ((page, " ".join(match[1].split())) for match in INLINE.finditer(text))


def _in_conf() -> Iterator[tuple[str, str]]:
    """Commands in the comments of conf/ and in what --help says first."""
    for path in sorted((ROOT / "conf").rglob("*.yaml")):
        text = path.read_text()
        shown = re.findall(r"^#   (.*)$", text, re.MULTILINE)
        header = yaml.safe_load(text).get("hydra") or {}
        shown += re.findall(r"^  (.*)$", header.get("help", {}).get("header", ""), re.MULTILINE)
        for one in commands_of("\n".join(shown)):
            # A comment's indented lines may be tables of meanings as well.
            if one.split(" ")[0] in PROGRAMS:
                yield str(path.relative_to(ROOT)), one


def commands_of(text: str) -> list[str]:
    """The commands of a shell block: continued lines joined, comments and prompts taken off."""
    joined = re.sub(r"\\\n\s*", "", text)
    found = (_bare(line.strip().removeprefix("$ ")) for line in joined.split("\n"))
    return [line for line in found if line]


def _bare(line: str) -> str:
    """A line without its comment; a # within quotes or a word is none."""
    quote = ""
    for at, letter in enumerate(line):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == "#" and (at == 0 or line[at - 1] == " "):
            return line[:at].rstrip()
    return line


def _flush(text: str) -> str:
    lines = text.rstrip("\n").split("\n")
    indent = min((len(one) - len(one.lstrip()) for one in lines if one.strip()), default=0)
    return "\n".join(one[indent:] for one in lines)
