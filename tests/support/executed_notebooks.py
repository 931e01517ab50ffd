"""Execution of the notebooks. As a script, execute each in its own kernel and write the outputs:

    .venv/bin/python tests/support/executed_notebooks.py              # all notebooks
    .venv/bin/python tests/support/executed_notebooks.py ten_minutes  # one

Run it after a change that the notebooks show, because a test compares committed and new outputs.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks"
KERNELS = {
    "a first look": ("ten_minutes", "reading_a_direction", "from_python"),
    "families of methods and your own data": (
        "your_model_and_data", "steering", "gates", "prompts", "heads_and_weights",
    ),
}  # fmt: skip
"""Notebooks that a test executes in one kernel, which saves the start of the others."""
NAMES = tuple(name for names in KERNELS.values() for name in names)
SECONDS = 1000
"""Time limit of a cell: a hundred times its duration on an idle machine."""
WIDGET = "application/vnd.jupyter.widget-view+json"
METADATA = ("kernelspec", "language_info")
"""Notebook metadata to write; the rest depends on the machine."""


def read(name: str) -> NotebookNode:
    """The committed notebook."""
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def executed(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """A copy of ``notebook``, executed with ``folder`` as the working directory.

    Raises nbclient's CellExecutionError if a cell fails.
    """
    copy = nbformat.from_dict(notebook)
    with _own_jupyter():
        client = NotebookClient(
            copy,
            timeout=SECONDS,
            startup_timeout=SECONDS,
            kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
            record_timing=False,
            coalesce_streams=True,
        )
        client.execute()
    copy.metadata = {key: copy.metadata[key] for key in METADATA if key in copy.metadata}
    for cell in copy.cells:
        cell.metadata = {}
        if cell.cell_type == "code":  # progress bars, where ipywidgets is installed
            cell.outputs = [o for o in cell.outputs if WIDGET not in o.get("data", {})]
    return copy


def executed_together(names: tuple[str, ...], folder: Path) -> dict[str, list[NotebookNode]]:
    """The code cells of each notebook, executed in one kernel that forgets its variables between
    notebooks."""
    cells = []
    for name in names:
        cells += [new_code_cell("%reset -f"), *_code(read(name).cells)]
    joined = new_notebook(cells=cells, metadata=read(names[0]).metadata)
    done = iter(executed(joined, folder).cells)
    return {name: [next(done) for _ in range(len(_code(read(name).cells)) + 1)][1:]
            for name in names}  # fmt: skip


def _code(cells: list[NotebookNode]) -> list[NotebookNode]:
    return [cell for cell in cells if cell.cell_type == "code"]


def text_of(cell: NotebookNode) -> str:
    """A cell's output on stdout and as plain text, without the progress lines on stderr."""
    texts = []
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            texts.append(output.text if output.name == "stdout" else "")
        elif "image/png" not in output.data:
            texts.append(output.data.get("text/plain", "") + "\n")
    return "".join(texts)


@contextmanager
def working_copy() -> Iterator[Path]:
    """An empty notebooks/ folder, with the files of docs/ that notebooks read next to it."""
    with tempfile.TemporaryDirectory() as root:
        shutil.copytree(ROOT / "docs/example_pairs", Path(root) / "docs/example_pairs")
        (Path(root) / "notebooks").mkdir()
        yield Path(root) / "notebooks"


@contextmanager
def _own_jupyter() -> Iterator[None]:
    """Use this interpreter as the kernel, whatever the user's Jupyter configuration is."""
    with tempfile.TemporaryDirectory() as folder:
        write_kernel_spec(Path(folder) / "kernels" / "python3")
        names = ("JUPYTER_PATH", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR")
        variables = dict.fromkeys(names, folder) | {
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        }
        before = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value


def main(names: list[str]) -> None:
    for name in names or NAMES:
        with working_copy() as folder:
            done = executed(read(name), folder)
        for cell in done.cells:
            outputs = [o for o in cell.get("outputs", []) if o.get("name") != "stderr"]
            cell.update({"outputs": outputs} if cell.cell_type == "code" else {})
        nbformat.write(done, FOLDER / f"{name}.ipynb")
        print(f"{name}: executed and written")


if __name__ == "__main__":
    main(sys.argv[1:])
