"""Every command that README, docs and conf/ show is run, small and on this machine.

What is not calib's, or cannot be run here, stands in ELSEWHERE or NO_CODE with what checks it in
place of a run; a command that is neither run nor listed fails. How a command is cut down:
tests/commands_at_hand.py. What it finds: conftest.py.
"""

import ast
import importlib.util
import re
import shlex
import tomllib
from pathlib import Path

import openai
import pytest
from in_process import command
from shown_commands import (
    PYTHON,
    ROOT,
    SHELL,
    Block,
    blocks,
    blocks_of,
    commands,
    commands_of,
    is_shell,
)

from calib.config.schemas import ENTRY_POINTS

SHOWN = commands()
BLOCKS = blocks()
METHOD_OF_ONES_OWN = "tests/test_contributing.py adds what it names and runs it"

ELSEWHERE = {
    "python -m calib.COMMAND GROUP=OPTION GROUP.SETTING=VALUE SETTING=VALUE": "no command: a form",
    "python -m calib.sweep method=centre": METHOD_OF_ONES_OWN,
    "python -m calib.sweep model=mine method=centre data=signs data.root=FOLDER judge=sorry": (
        METHOD_OF_ONES_OWN
    ),
    "source .venv/bin/activate": "the shell's; make, which CI runs, creates .venv",
    "hf auth login": "asks for a token of the hub",
    "export CALIB_BASE_URL=http://127.0.0.1:8000/v1 CALIB_API_KEY=none": (
        "inspect's own names; tests/serving/test_inspect.py"
    ),
    "inspect eval inspect_evals/mmmu_multiple_choice --model openai-api/calib/NAME "
    "--temperature 0": "inspect is no dependency; tests/serving/test_inspect.py runs its protocol",
    "OPENAI_API_KEY=none python -m lmms_eval --model openai --model_args "
    "base_url=http://127.0.0.1:8000/v1,model_version=NAME --tasks mme --batch_size 1": (
        "lmms-eval is no dependency; its page says that it was not run"
    ),
    "llama-mtmd-cli -m MODEL.gguf --mmproj MMPROJ.gguf --control-vector-scaled refusal.gguf:1.5": (
        "llama.cpp is no program of CI; tests/with_llama_cpp.py asks its library"
    ),
    "llama-cli -m MODEL.gguf --control-vector-scaled refusal.gguf 1.5": (
        "llama.cpp is no program of CI; tests/with_llama_cpp.py asks its library"
    ),
    "lm-eval --model steered --model_args pretrained=ID,steer_path=refusal.pt --tasks TASKS": (
        "lm-eval is no dependency; tests/interchange/test_lm_eval.py reads the file by its rules"
    ),
    "vllm serve FOLDER": "vLLM is no dependency",
    "vllm serve ID --port 8000": "vLLM is no dependency",
}
"""Shell commands that are not run here, with the reason and what does check them."""

NO_CODE = {
    ("docs/export.md", 'vector = repeng.ControlVector.import_gguf("refusal.gguf")'): (
        "repeng and EasySteer are no dependencies; tests/interchange has their rules"
    ),
}
"""Python blocks that are not run, likewise."""
SHOWN_FILES = ("CONTRIBUTING.md", "docs/adding.md")
"""Pages whose Python blocks are files of calib, which tests/test_contributing.py adds and runs."""
DATA = ("csv", "yaml", "json", "text", "bibtex")
"""Languages of blocks that show a file or an output."""


def is_run(text: str) -> bool:
    """Whether it is a command of calib with something to do; a bare one is a mention."""
    words = text.split(" ")
    return words[:2] == ["python", "-m"] and words[2].startswith("calib.") and len(words) > 3


def readable(text: str) -> str:
    return text.removeprefix("python -m ")


@pytest.mark.parametrize(
    "text", [one for one in SHOWN if is_run(one) and one not in ELSEWHERE], ids=readable
)
def test_a_shown_command_runs(text, desk, monkeypatch):
    if "README.md" not in SHOWN[text]:
        # What a sweep shows at its end depends on its record alone, and takes longer than the rest.
        monkeypatch.setattr("calib.report.outcome.show", lambda *_: "")
        monkeypatch.setattr("calib.report.page.write.write_report", lambda _, out, **__: out)
    before = desk.files()
    said = desk.run(text)
    assert desk.files() - before or said, "it neither wrote nor said anything"


@pytest.mark.parametrize("text", [one for one in SHOWN if not is_run(one)], ids=readable)
def test_what_is_not_run_is_known_and_checked_otherwise(text):
    if text in ELSEWHERE:
        return
    program, *words = shlex.split(text)
    check = {"make": target, "pip": packages, "export": variable, "python": script}.get(program)
    assert check is not None, (
        f"{text} (in {', '.join(SHOWN[text])}) is no command of calib. Say in ELSEWHERE why it "
        "is not run and what checks it."
    )
    check(words)


def target(words):
    names = [word for word in words if "=" not in word]
    makefile = (ROOT / "Makefile").read_text()
    for name in names:
        assert re.search(rf"^{re.escape(name)}:", makefile, re.MULTILINE), f"make has no {name}"


def packages(words):
    """Extras are pyproject's, constraints a file, and packages of others have their version."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert words.pop(0) == "install"
    while words:
        word = words.pop(0)
        if word == "-c":
            assert (ROOT / words.pop(0)).is_file()
        elif found := re.fullmatch(r"(?:calib|\.)(?:\[([\w,]+)\])?", word):
            assert set((found[1] or "test").split(",")) <= extras.keys(), word
        else:
            assert word in ("-e", "--no-deps") or re.fullmatch(r"[\w-]+==[\d.]+", word), word


def variable(words):
    """A key that is exported is one that a file of conf/ names, or the default."""
    names = {word.partition("=")[0] for word in words}
    known = re.findall(
        r"\b\w+_API_KEY\b",
        "".join(path.read_text() for path in (ROOT / "conf").rglob("*.yaml"))
        + (ROOT / "calib" / "config_judges.py").read_text(),
    )
    assert names <= set(known), names


def script(words):
    """A module of experiments or benchmarks, a script, or a command that is mentioned."""
    if words[0] != "-m":
        assert (ROOT / words[0]).is_file(), words[0]
    elif words[1] == "calib.NAME":
        pass
    elif words[1].startswith("calib."):
        assert words[1].removeprefix("calib.") in ENTRY_POINTS
    else:
        found = importlib.util.find_spec(words[1])
        assert words[1].split(".")[0] in ("experiments", "benchmarks") and found is not None
        main = Path(found.origin.replace("__init__.py", "__main__.py"))
        assert '__name__ == "__main__"' in main.read_text(), f"{words[1]} does nothing"


def test_every_command_of_calib_says_how_it_is_used():
    for name in ("sweep",):
        done = command(name, "--help")
        assert done.code == 0 and f"python -m calib.{name}" in done.stdout


@pytest.mark.parametrize("block", BLOCKS, ids=lambda one: f"{one.page}: {one.first[:40]}")
def test_every_block_of_code_is_of_a_known_kind(block):
    known = is_shell(block) or block.language in (*PYTHON, *DATA)
    assert known, f"{block.page}: give the block its language after the fence: {block.first}"


PYTHON_BLOCKS = [
    block
    for block in BLOCKS
    if block.language in PYTHON
    and block.page not in SHOWN_FILES
    and (block.page, block.first) not in NO_CODE
]


@pytest.mark.parametrize("block", PYTHON_BLOCKS, ids=lambda one: f"{one.page}: {one.first}")
def test_a_shown_python_block_runs(block, desk):
    for name in re.findall(r'"([\w./]+\.(?:csv|png))"', block.text):
        desk.file(name)
    if "OpenAI(" not in block.text:
        exec(compile(ast.parse(block.text), block.page, "exec"), {"__name__": "shown"})
        return

    def ask(url):
        here = block.text.replace("http://127.0.0.1:8000/v1", url)
        here = here.replace("data:image/png;base64,...", desk.data_url)
        scope = {"__name__": "shown"}
        exec(compile(ast.parse(here), block.page, "exec"), scope)
        assert isinstance(scope["client"], openai.OpenAI)
        asked.append(url)

    asked = []
    desk.client.ask = ask
    desk.run("python -m calib.serve run=runs/NAME")
    assert len(asked) == 1


def test_lists_hold_nothing_that_is_not_shown():
    assert ELSEWHERE.keys() <= SHOWN.keys(), "remove it from ELSEWHERE"
    assert NO_CODE.keys() <= {(block.page, block.first) for block in BLOCKS}


def test_commands_are_found_where_pages_show_them():
    page = (
        "Text\n\n    $ python -m calib.sweep a=1 \\\n        b='x # y'   # why\n\n"
        "```bash\nmake sweep\n\n# only a comment\nexport KEY=1#2\n```\n\n```yaml\nname: x\n```\n\n"
        "    a,b\n    1,2\n"
    )
    found = blocks_of("page.md", page)
    assert [(block.language, is_shell(block)) for block in found] == [
        ("bash", True), ("yaml", False), ("", True), ("", False),
    ]  # fmt: skip
    assert commands_of(found[0].text) == ["make sweep", "export KEY=1#2"]
    assert commands_of(found[2].text) == ["python -m calib.sweep a=1 b='x # y'"]
    in_text = Block("page.md", "text", "python -m calib.sweep out=x")
    assert is_shell(in_text) and "bash" in SHELL


def test_conf_and_help_are_looked_at():
    places = {page for pages in SHOWN.values() for page in pages}
    assert {"README.md", "docs/tutorial.md", "conf/data/siuo.yaml", "conf/sweep.yaml"} <= places
    of_help = [text for text, pages in SHOWN.items() if pages == ["conf/sweep.yaml"]]
    assert any(" -m " in text.removeprefix("python -m") for text in of_help)
