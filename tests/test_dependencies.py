"""pyproject.toml declares each package that the code imports, and no other."""

import ast
import functools
import importlib.metadata
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
PLACES = {
    "data": ("calib/data",),
    "api": ("calib/models/endpoint.py",),
    "serve": ("calib/serve.py", "calib/serving", "calib/engine/vllm/server/tensors.py"),
    "vllm": ("calib/engine/vllm", "calib/models/endpoint.py"),
    "gguf": ("calib/interchange/gguf.py",),
    "notebook": ("calib/api/widget.py", "calib/scoring/result_table.py"),
    "test": ("tests", "benchmarks", "experiments"),
    "docs": ("tests/docs/test_site.py",),
    "release": ("tests/test_package.py",),
}
"""Files and folders that may import the packages of an extra besides those of calib itself."""
NOT_IMPORTED = {
    "accelerate": "transformers places weights on devices with it",
    "bitsandbytes": "transformers quantizes with it",
    "torchvision": "transformers reads images with it, where it is installed",
    "hydra-submitit-launcher": "a plugin of Hydra",
    "pytest-xdist": "a plugin of pytest",
    "ruff": "a command", "mypy": "a command", "import-linter": "a command",
    "hatchling": "a command", "build": "a command",
    "mkdocs-material": "a theme of mkdocs", "mkdocstrings-python": "a plugin of mkdocs",
}  # fmt: skip
ELSEWHERE = {
    **dict.fromkeys(("vllm", "vllm_lens"), "docs/scale.md has an environment of their own"),
    "inspect_ai": "tests/serving runs its client where it is installed",
    **dict.fromkeys(("nnsight", "pyvene", "steering_vectors"), "compared in benchmarks/peers"),
    "resvg_py": "renders drawings in experiments/smolvlm_emoji, whose README installs it",
}
"""Modules that no extra brings: they conflict with the others, or one script alone needs them."""
BUILD = {"torchvision", "bitsandbytes"}
"""Not pinned in constraints.txt: they depend on the build of torch."""


def declared(requirements):
    """The names of requirements, with those of the extras that they name."""
    found = set()
    for requirement in map(Requirement, requirements):
        if requirement.name == "calib":
            for extra in requirement.extras:
                found |= declared(EXTRAS[extra])
        else:
            found.add(canonicalize_name(requirement.name))
    return found


@functools.cache
def imported(folder):
    """By file in the folder, the modules of other packages that it imports, lazily or not."""
    files = [ROOT / folder] if folder.endswith(".py") else sorted((ROOT / folder).rglob("*.py"))
    own = {"calib", "tests", "benchmarks", "experiments", *sys.stdlib_module_names}
    own |= {path.stem for path in (ROOT / "tests").rglob("*.py")}
    found = []
    for path in files:
        names = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module.partition(".")[0])
            elif isinstance(node, ast.Call) and "importorskip" in ast.unparse(node.func):
                names.add(ast.literal_eval(node.args[0]).partition(".")[0])
        found.append((path.relative_to(ROOT), names - own))
    return found


@pytest.fixture(scope="module")
def packages():
    """The names of the packages that bring a module."""
    found = importlib.metadata.packages_distributions()
    return {module: set(map(canonicalize_name, names)) for module, names in found.items()}


def allowed(path):
    """The packages that a file may import."""
    extras = [
        extra
        for extra, places in PLACES.items()
        if any(path == Path(place) or Path(place) in path.parents for place in places)
    ]
    return declared([*PROJECT["dependencies"], *(each for e in extras for each in EXTRAS[e])])


@pytest.mark.parametrize("folder", ["calib", "tests", "benchmarks", "experiments"])
def test_each_imported_package_is_declared(folder, packages):
    undeclared = {
        f"{path}: {name}"
        for path, names in imported(folder)
        for name in names - ELSEWHERE.keys()
        if not packages.get(name, set()) & allowed(path)
    }
    assert undeclared == set()


@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_each_declared_package_is_imported(extra, packages):
    places = PLACES.get(extra, ()) if extra else ("calib",)
    own = EXTRAS[extra] if extra else PROJECT["dependencies"]
    wanted = declared([each for each in own if Requirement(each).name != "calib"])
    modules = {name for place in places for _, names in imported(place) for name in names}
    used = {package for name in modules for package in packages.get(name, ())}
    assert wanted - used - NOT_IMPORTED.keys() == set()


def test_each_declared_package_has_a_tested_version_within_its_bounds():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = map(Requirement, (line for line in lines if line and not line.startswith("#")))
    versions = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}
    for each in (*PROJECT["dependencies"], *EXTRAS["test"]):
        requirement = Requirement(each)
        if requirement.name != "calib":
            assert versions[canonicalize_name(requirement.name)] in requirement.specifier, each
    assert declared(EXTRAS["test"]) <= versions.keys()
