"""The notebooks run from top to bottom, and print their committed outputs."""

import json
import re
from pathlib import Path

import executed_notebooks
import nbformat
import pytest
from executed_notebooks import (
    FOLDER,
    KERNELS,
    NAMES,
    ROOT,
    executed,
    executed_together,
    read,
    text_of,
    working_copy,
)
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

BYTES = 500_000
"""Largest size of a notebook's file."""
MACHINE_PATH = re.compile(
    r"(?<![\w.:/])/(?:tmp|home|root|Users|work|mnt|opt|usr|var|private)\b|[A-Z]:\\"
)
NUMBER = re.compile(r"[-+]?\d+(?:\.(\d+))?")
UPDATE = "To accept: .venv/bin/python tests/support/executed_notebooks.py"


@pytest.fixture(scope="module")
def kernel():
    return {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def code(name):
    return [cell for cell in read(name).cells if cell.cell_type == "code"]


def difference(committed, now):
    """The first line where two texts differ by more than rounding on another machine, or None.

    Numbers may differ by one in their last digit, except for numbers of one digit, which are layers
    and strengths. Words and the number of lines must be equal.
    """
    old, new = committed.strip().split("\n"), now.strip().split("\n")
    for before, after in zip(old, new, strict=False):
        if _skeleton(before) != _skeleton(after):
            return f"'{before}' is now '{after}'"
        for a, b in zip(NUMBER.finditer(before), NUMBER.finditer(after), strict=True):
            unit = 10.0 ** -min(len(number[1] or "") for number in (a, b))
            exact = (a[1] is None) != (b[1] is None) or len(a[0].lstrip("+-")) == 1
            if abs(float(a[0]) - float(b[0])) > (0 if exact else 1.001 * unit):
                return f"'{before}' is now '{after}'"
    return None if len(old) == len(new) else f"{len(old)} lines are now {len(new)}"


def _skeleton(line):
    return " ".join(NUMBER.sub("0", line).split())  # column widths depend on the digits


@pytest.mark.parametrize("names", KERNELS.values(), ids=KERNELS)
def test_notebooks_print_their_committed_outputs(names):
    with working_copy() as folder:
        for name, cells in executed_together(names, folder).items():
            require_committed(name, cells)


def require_committed(name, cells):
    """Fail unless the executed code cells have the outputs of the committed notebook."""
    for before, now in zip(code(name), cells, strict=True):
        changed = difference(text_of(before), text_of(now))
        assert changed is None, f"{name}, cell [{before.execution_count}]: {changed}. {UPDATE}"
        kinds = [
            [o.output_type for o in c.outputs if o.get("name") != "stderr"] for c in (before, now)
        ]
        assert kinds[0] == kinds[1], f"{name}, cell [{before.execution_count}]. {UPDATE}"


def test_all_notebooks_are_tested():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_was_executed_from_top_to_bottom(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert [cell.execution_count for cell in code(name)] == list(range(1, len(code(name)) + 1))
    drawn = [o for cell in code(name) for o in cell.outputs if "image/png" in o.get("data", {})]
    assert drawn
    assert sum(bool(cell.outputs) for cell in code(name)) > len(code(name)) / 2


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_small_and_contains_no_path_of_a_machine(name):
    text = (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    assert len(text.encode()) < BYTES
    shown = [cell.source for cell in read(name).cells]
    for cell in code(name):
        outputs = json.loads(json.dumps(cell.outputs))
        for output in outputs:
            assert output.get("name") != "stderr", output["text"]
            assert output["output_type"] != "error"
            output.get("data", {}).pop("image/png", None)
        shown.append(json.dumps(outputs))
    for part in shown:
        assert not MACHINE_PATH.search(part), MACHINE_PATH.search(part)
    assert str(ROOT) not in text


@pytest.mark.parametrize("name", NAMES)
def test_links_of_a_notebook_are_valid(name):
    prose = "\n".join(cell.source for cell in read(name).cells if cell.cell_type == "markdown")
    links = [link for link in re.findall(r"\]\(([^)#]+)", prose) if "://" not in link]
    assert links
    for link in links:
        assert (FOLDER / link).exists(), link


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_disclaims_results_on_published_models(name):
    text = " ".join(cell.source for cell in read(name).cells if cell.cell_type == "markdown")
    assert "mini-internvl" in text and "published model" in " ".join(text.split())


@pytest.mark.parametrize(
    "committed, now, differs",
    [
        ("AUROC 0.81 (0.70 to 0.91)", "AUROC 0.80 (0.70 to 0.92)", False),
        ("refused: 10%", "refused:  9%", False),
        ("gap  26.3", "gap 26.31", False),
        ("mean -0.0", "mean +0.0", False),
        ("AUROC 0.81", "AUROC 0.79", True),
        ("n = 120", "n = 122", True),
        ("I'm sorry", "You can", True),
        ("one", "one\ntwo", True),
        ("layer 3", "layer 3.5", True),
        ("layer 3", "layer 4", True),
        ("change +0.4", "change -0.4", True),
        ("SRA_u 60%", "SRA_s 60%", True),
    ],
)
def test_outputs_that_count_as_different(committed, now, differs):
    assert (difference(committed, now) is not None) == differs


def test_cells_run_in_this_interpreter_and_errors_are_raised(kernel, tmp_path, monkeypatch):
    other = tmp_path / "kernels" / "python3"
    other.mkdir(parents=True)
    spec = {"argv": ["another-python"], "display_name": "Python 3", "language": "python"}
    (other / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    cells = [
        new_markdown_cell("A title"),
        new_code_cell("import os, sys\nprint(sys.executable)\nprint('slow', file=sys.stderr)"),
        new_code_cell("os.getcwd(), os.environ['OMP_NUM_THREADS'], os.environ['HF_HUB_OFFLINE']"),
    ]
    done = executed(new_notebook(cells=cells, metadata=kernel), tmp_path)
    assert Path(text_of(done.cells[1]).strip()).samefile(executed_notebooks.sys.executable)
    assert eval(text_of(done.cells[2])) == (str(tmp_path), "1", "1")
    with pytest.raises(CellExecutionError) as error:
        executed(new_notebook(cells=[new_code_cell("1 / 0")], metadata=kernel), tmp_path)
    assert error.value.ename == "ZeroDivisionError"
