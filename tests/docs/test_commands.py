"""Every command that README, docs, notebooks and conf/ show has a valid configuration and runs.

A command is read by support/shown_commands.py, its placeholders are replaced by files of the test's
folder (conftest.py, support/reader_folder.py), Hydra composes its configuration,
support/shrinking.py cuts that to mini-internvl and a few examples, and the command runs. Equal
configurations run once, and methods with otherwise equal configurations in one sweep.

To document a command with a new placeholder, add it to PLACEHOLDERS. To document a command of
another program, add it to NOT_RUN with the reason.
"""

import ast
import csv
import importlib
import importlib.util
import re
import shlex
import shutil
import subprocess
import tomllib
from dataclasses import replace
from itertools import filterfalse
from pathlib import Path

import openai
import pytest
from composing import composed
from PIL import Image
from server_thread import data_url
from shown_commands import ROOT, Block, blocks, commands, commands_in
from shrinking import shrink

from calib.config.judge import LlmJudge
from calib.config.prompts import NoneMethod
from calib.config.schemas import ENTRY_POINTS
from calib.config.sweep import SweepConfig
from calib.models.feature_cache import FeatureCache
from calib.models.load import load
from calib.serving.request_schema import parse_request

COMMANDS = commands()
BLOCKS = blocks()

PLACEHOLDERS = {
    "direction=FILE": "direction=direction.safetensors",
    " file=FILE": " file=vector.gguf",
    "check=FILE": "check=labelled.csv",
    "out=FILE": "out=vector_out.gguf",
    "format=FORMAT": "format=gguf",
    "model=OPTION": "model=llava_1_5",
    "source=PATH": "source=original",
    "layers=[12]": "layers=[3]",  # mini-internvl has six
    "file=vec_layer_13_Llama-2-7b-chat-hf.pt": "file=vectors/refusal/vec_layer_3.pt",
}
"""Text in commands, and its replacement. FOLDER and PATH of data.root: support/shrinking.py."""

OTHER_PROGRAM = "not a dependency; "
NOT_RUN = {
    "calib COMMAND GROUP=OPTION GROUP.SETTING=VALUE SETTING=VALUE": "a pattern",
    "python -m calib.COMMAND": "a pattern",
    "python -m calib.NAME": "a pattern",
    "python -m calib.sweep -m model=internvl method=steer,few_shot data=vscbench data.root=PATH": (
        "a multirun; tests/cli/test_command.py"
    ),
    "python -m calib.sweep method=steer model=internvl devices=all": (
        "needs GPUs; tests/commands/test_devices.py"
    ),
    "python -m calib.sweep -m hydra/launcher=submitit_slurm hydra.launcher.gpus_per_node=1 "
    "hydra.launcher.cpus_per_task=8 hydra.launcher.timeout_min=240 "
    "shard=1/8,2/8,3/8,4/8,5/8,6/8,7/8,8/8 method=steer model=internvl out=runs/steered": (
        "needs a cluster; tests/commands/test_slurm.py starts one"
    ),
    "sbatch --array=1-8 --gpus=1 --requeue --wrap 'python -m calib.sweep method=steer "
    "model=internvl out=runs/steered shard=$SLURM_ARRAY_TASK_ID/8'": "as above",
    "python -m calib.sweep method=steer model=internvl out=runs/steered shard=1/2": (
        "waits for the other shard; tests/runs/test_shards.py runs shards"
    ),
    "python -m calib.sweep method=steer model=internvl out=runs/steered shard=2/2": "as above",
    "python -m calib.extract model=smolvlm_emoji data=pairs data.file=built/emoji_pairs/pairs.csv "
    "data.limit=null": "needs a model and pairs that are built; tests/experiments",
    "source .venv/bin/activate": "part of the shell; make creates .venv in CI",
    "hf auth login": "needs a token",
    "export CALIB_BASE_URL=http://127.0.0.1:8000/v1 CALIB_API_KEY=none": (
        "variables of inspect; tests/serving/test_inspect.py"
    ),
    "inspect eval inspect_evals/mmmu_multiple_choice --model openai-api/calib/NAME "
    "--temperature 0": OTHER_PROGRAM + "tests/serving/test_inspect.py sends its requests",
    "OPENAI_API_KEY=none python -m lmms_eval --model openai --model_args "
    "base_url=http://127.0.0.1:8000/v1,model_version=NAME --tasks mme --batch_size 1": (
        OTHER_PROGRAM + "docs/serve.md says that it was not run"
    ),
    "llama-mtmd-cli -m MODEL.gguf --mmproj MMPROJ.gguf --control-vector-scaled refusal.gguf:1.5": (
        OTHER_PROGRAM + "tests/support/with_llama_cpp.py uses its library"
    ),
    "llama-cli -m MODEL.gguf --control-vector-scaled refusal.gguf 1.5": (
        OTHER_PROGRAM + "tests/support/with_llama_cpp.py uses its library"
    ),
    "lm-eval --model steered --model_args pretrained=ID,steer_path=refusal.pt --tasks TASKS": (
        OTHER_PROGRAM + "tests/interchange/test_lm_eval.py reads the file by its rules"
    ),
    "docker run --gpus all --ipc=host -p 8000:8000 IMAGE --model ID --dtype bfloat16 "
    "--tensor-parallel-size 8 --max-logprobs -1": "needs GPUs; docs/scale.md says: not tried",
    "docker build -t calib .": "tests/test_project_files.py, where Docker works",
    "docker run --rm -p 127.0.0.1:8000:8000 -e CALIB_API_KEY calib method=reminder": "as above",
    "docker run --rm -p 127.0.0.1:8000:8000 -e CALIB_API_KEY -v /path/to/runs:/runs:ro calib "
    "run=/runs/NAME": "as above",
    "vllm serve FOLDER": OTHER_PROGRAM + "the endpoint is covered by tests/models/test_endpoint.py",
    "vllm serve ID --port 8000": OTHER_PROGRAM + "as above",
}
"""Commands that no test runs, with the reason or the test that covers them."""

PAGES_THAT_ADD = {"CONTRIBUTING.md", "docs/adding.md"}
ADDED = re.compile(r"=(mine|centre|soften|signs|sorry)\b")
"""Options that these pages add; tests/test_contributing.py adds them to a copy and runs them."""
PYTHON_NOT_RUN = {
    **dict.fromkeys(PAGES_THAT_ADD, "added and run by tests/test_contributing.py"),
    "docs/export.md": OTHER_PROGRAM + "tests/interchange has the rules of the formats",
}
"""Pages whose Python blocks are not run here, likewise."""

DATA_LANGUAGES = ("csv", "yaml", "json", "toml", "text", "bibtex")
PYTHON = ("python", "py")


def is_added(command):
    """Whether a command uses an option that does not exist yet."""
    return set(COMMANDS[command]) <= PAGES_THAT_ADD and ADDED.search(command)


def is_run(command):
    """Whether a command belongs to calib, and is more than a name in a sentence."""
    name, _, overrides = long_form(command).partition(" ")
    listed = command in NOT_RUN or is_added(command) or is_on_vllm(command)
    return not listed and name.startswith("calib.") and overrides != ""


def is_on_vllm(command):
    """Whether a command needs vLLM. tests/vllm runs such commands; here they are composed."""
    return "engine=vllm" in command.split()


def chooses_a_method(command):
    """Whether a command differs from others in its method only. README's is run on its own."""
    name, *overrides = shlex.split(long_form(command))
    return (
        name == "calib.sweep"
        and "README.md" not in COMMANDS[command]
        and overrides[0].startswith("method=")
        and overrides[0] != "method=none"
        and all(re.match(r"(method[.@]|out=|model=internvl$)", text) for text in overrides[1:])
    )


def long_form(command):
    """``calib.sweep ...`` for ``python -m calib.sweep ...`` and for ``calib sweep ...``."""
    return re.sub(r"^((\.venv-vllm/bin/)?python -m calib\.|calib )", "calib.", command)


# Commands of calib


@pytest.fixture(scope="session")
def configurations():
    """The configurations that this process has run."""
    return set()


@pytest.fixture(scope="session")
def models():
    """The models that sweeps of this process have loaded, by their configuration."""
    return {}


def loaded_once(models, monkeypatch):
    """Load no model again that a sweep has loaded. Sweeps leave no trace in it; exports may."""

    def loaded(config):
        if repr(config) not in models:
            models[repr(config)] = load(config)
        unused = {"feature_cache": FeatureCache(), "template_tails": {}, "renderings": {}}
        return replace(models[repr(config)], **unused)

    monkeypatch.setattr("calib.models.load.load", loaded)  # that of calib.models.load.open_model


@pytest.fixture
def network(hub, endpoint, client, monkeypatch):
    """Local replacements for the hub, for chat endpoints and for clients of calib.serve."""
    for name in ("OPENAI", "ANTHROPIC", "GEMINI", "OPENROUTER", "VLLM"):
        monkeypatch.setenv(f"{name}_API_KEY", "not-a-key")


RUN = list(filter(is_run, COMMANDS))
METHODS = list(filter(chooses_a_method, RUN))
WRITE_REPORT = "calib.report.page.write.write_report"


def test_commands_that_choose_a_method_run(folder, network, endpoint, undrawn, monkeypatch):
    """In one sweep, which answers without a method and reads the data once for all of them."""
    monkeypatch.setattr(WRITE_REPORT, lambda _, out, **__: out)
    methods = {}
    for command in METHODS:
        config, run = prepared(command, folder, endpoint.url)
        own = config.method
        name = f"{own.name}_{len(methods)}"
        methods[name] = replace(own, name=name, file=own.file or own.name)
    run(replace(config, method=NoneMethod(), methods=methods, out="runs/methods"))
    with Path("runs/methods/results.csv").open(encoding="utf-8", newline="") as file:
        assert {row["method"] for row in csv.DictReader(file)} == {"none", *methods}


@pytest.mark.parametrize("command", list(filterfalse(chooses_a_method, RUN)), ids=str)
@pytest.mark.usefixtures("network", "undrawn")
def test_a_command_runs(command, folder, endpoint, configurations, models, monkeypatch, capsys):
    if "README.md" not in COMMANDS[command]:  # the page takes longer than the rest
        monkeypatch.setattr(WRITE_REPORT, lambda _, out, **__: out)
    config, run = prepared(command, folder, endpoint.url)
    if config_text(config) in configurations:
        return
    configurations.add(config_text(config))
    if isinstance(config, SweepConfig):
        loaded_once(models, monkeypatch)
    before = set(folder.rglob("*"))
    run(config)
    assert set(folder.rglob("*")) - before or capsys.readouterr().out


def prepared(command, folder, url):
    """The configuration of a command, cut down, and the function that runs it."""
    for placeholder, value in PLACEHOLDERS.items():
        command = command.replace(placeholder, value)
    name, *overrides = shlex.split(long_form(command))
    config = composed(name.removeprefix("calib."), *overrides, mandatory=())
    if name == "calib.sweep" and all(re.match("(utility|judge)[.=]", text) for text in overrides):
        config.method = NoneMethod()  # the default method is run by other commands
    shrink(config, url)
    for finished in [getattr(config, "run", None), *(getattr(config, "runs", None) or [])]:
        if finished is not None:
            shutil.copytree(folder / "finished", folder / finished)
    if getattr(config, "audit", None):  # the command writes the sheet
        shutil.rmtree(folder / config.run / "audit")
    module = importlib.import_module(name)
    if not hasattr(module, "main"):
        module = importlib.import_module(f"{name}.__main__")
    return config, module.main


def config_text(config):
    """The configuration without the folder of its output."""
    return f"{type(config).__name__} {vars(config) | {'out': None}!r}"


# Other commands


@pytest.mark.parametrize("command", list(filterfalse(is_run, COMMANDS)), ids=str)
def test_a_command_that_does_not_run_is_checked(command):
    program, *words = shlex.split(command)
    if is_on_vllm(command):
        name, *overrides = shlex.split(long_form(command))
        assert composed(name.removeprefix("calib."), *overrides).engine.name == "vllm"
    elif command not in NOT_RUN and not is_added(command):
        assert program in CHECKS, f"{COMMANDS[command]}: add {command!r} to NOT_RUN with a reason"
        CHECKS[program](words)


def check_make(words):
    targets = re.findall(
        r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert {word for word in words if "=" not in word} <= set(targets)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_alone_lists_every_target():
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    targets = set(re.search(r"^\.PHONY: (.*)", makefile, re.MULTILINE)[1].split())
    shown = set(re.findall(r"^make ([\w-]+)", done.stdout, re.MULTILINE))
    assert shown == {name for name in targets - {"help"} if not name.endswith("-environment")}


def check_pip(words):
    """Extras are in pyproject.toml, constraints are a file, other packages have a version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert words[0] == "install"
    for word in words[1:]:
        if own := re.fullmatch(r"(?:calib|\.)\[([\w,]+)\]", word):
            assert set(own[1].split(",")) <= project["optional-dependencies"].keys()
        else:
            option = word in ("-e", "-c", "--no-deps") or (ROOT / word).is_file()
            assert option or re.fullmatch(r"[\w-]+==[\d.]+", word), word


def check_export(words):
    """An exported key is the default, or is named in conf/."""
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "conf").rglob("*.yaml")]
    known = set(re.findall(r"\b\w+_API_KEY\b", "".join(texts))) | {LlmJudge().key_env}
    assert {word.partition("=")[0] for word in words} <= known


def check_python(words):
    """A script exists, a command of calib exists, another module can be started."""
    if words[0] != "-m":
        assert (ROOT / words[0]).is_file(), words[0]
    elif words[1].startswith("calib."):
        assert words[1].removeprefix("calib.") in ENTRY_POINTS
    else:
        module = Path(importlib.util.find_spec(words[1]).origin)
        main = module.with_name("__main__.py") if module.name == "__init__.py" else module
        assert '__name__ == "__main__"' in main.read_text(encoding="utf-8")


def check_calib(words):
    assert words[0] in ENTRY_POINTS


def check_curl(words):
    """A request that the server accepts, of a list or a completion."""
    (url,) = (word for word in words if word.startswith("http://"))
    if "-d" not in words:
        assert url.endswith("/v1/models")
        return
    assert url.endswith("/v1/chat/completions") and "Content-Type: application/json" in words
    parse_request(words[words.index("-d") + 1].encode())


CHECKS = {
    "curl": check_curl,
    "calib": check_calib,
    "make": check_make,
    "pip": check_pip,
    "export": check_export,
    "python": check_python,
}


# Blocks of code


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.page}: {block.first_line}")
def test_a_block_has_a_known_language(block):
    assert block.is_shell or block.language in (*PYTHON, *DATA_LANGUAGES)


PYTHON_BLOCKS = [b for b in BLOCKS if b.language in PYTHON and b.page not in PYTHON_NOT_RUN]


@pytest.mark.parametrize("block", PYTHON_BLOCKS, ids=lambda block: block.page)
def test_a_python_block_runs(block, folder, network, client, endpoint):
    if "vllm_lens" in block.text:
        pytest.importorskip("vllm_lens", reason="needs vllm-lens; tests/serving has its client")
    if "OpenAI(" not in block.text:
        run_python(block.text, block.page)
        return
    clients = []

    def send(url):
        picture = Image.new("RGB", (64, 64), "red")
        text = block.text.replace("http://127.0.0.1:8000/v1", url)
        text = text.replace("data:image/png;base64,...", data_url(picture))
        clients.append(run_python(text, block.page)["client"])

    client.send = send
    config, run = prepared("python -m calib.serve run=runs/NAME", folder, endpoint.url)
    run(config)
    assert isinstance(clients[0], openai.OpenAI)


def run_python(text, page):
    scope = {"__name__": "shown"}
    exec(compile(ast.parse(text), page, "exec"), scope)
    return scope


# The lists and the search


def test_the_lists_have_no_stale_entries():
    assert NOT_RUN.keys() <= COMMANDS.keys()
    assert PYTHON_NOT_RUN.keys() <= {block.page for block in BLOCKS if block.language in PYTHON}
    assert [text for text in PLACEHOLDERS if not any(text in shown for shown in COMMANDS)] == []


def test_commands_are_found_in_all_places():
    pages = {page for shown in COMMANDS.values() for page in shown}
    assert {"README.md", "docs/tutorial.md", "conf/data/siuo.yaml", "conf/sweep.yaml"} <= pages


def test_lines_of_a_block():
    text = "$ python -m calib.sweep a=1 \\\n    b='x # y'   # why\n\n# a comment\nexport KEY=1#2\n"
    assert commands_in(text) == ["python -m calib.sweep a=1 b='x # y'", "export KEY=1#2"]
    assert Block("page.md", "text", "python -m calib.sweep out=x").is_shell
    assert not Block("page.md", "", "a,b\n1,2").is_shell
