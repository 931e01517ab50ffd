"""Notebooks executed as a reader would, each in a kernel of its own. Executes all of them and
writes their outputs, or those that are named:

    .venv/bin/python tests/executed_notebooks.py
    .venv/bin/python tests/executed_notebooks.py ten_minutes

Run it after a change that the notebooks show: the tests compare their text with what they print
now.
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

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks"
NAMES = ("ten_minutes", "reading_a_direction", "your_model_and_data")
SECONDS = 300
"""A cell that takes longer is stopped: a hundred times what it takes on a quiet machine."""
KEPT = ("kernelspec", "language_info")


def read(name: str) -> NotebookNode:
    """The notebook as it was committed."""
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def executed(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """A copy of ``notebook``, executed with ``folder`` as the working directory.

    Raises nbclient's CellExecutionError for a cell that fails.
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
    copy.metadata = {key: copy.metadata[key] for key in KEPT if key in copy.metadata}
    for cell in copy.cells:
        cell.metadata = {}
    return copy


def text_of(cell: NotebookNode) -> str:
    """What a cell says on stdout and as plain text.

    stderr is left out: a slow machine is told there how far a step has come.
    """
    said = []
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            said.append(output.text if output.name == "stdout" else "")
        elif "image/png" not in output.data:
            said.append(output.data.get("text/plain", "") + "\n")
    return "".join(said)


@contextmanager
def working_copy() -> Iterator[Path]:
    """An empty notebooks/ folder beside the files of docs/ that notebooks may read."""
    with tempfile.TemporaryDirectory() as root:
        shutil.copytree(ROOT / "docs/example_pairs", Path(root) / "docs/example_pairs")
        (Path(root) / "notebooks").mkdir()
        yield Path(root) / "notebooks"


@contextmanager
def _own_jupyter() -> Iterator[None]:
    """The kernel is this interpreter, whatever is installed or set for the user."""
    with tempfile.TemporaryDirectory() as own:
        write_kernel_spec(Path(own) / "kernels" / "python3")
        names = ("JUPYTER_PATH", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR")
        wanted = dict.fromkeys(names, own) | {
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        }
        before = {name: os.environ.get(name) for name in wanted}
        os.environ.update(wanted)
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
            told = [o for o in cell.get("outputs", []) if o.get("name") != "stderr"]
            cell.update({"outputs": told} if cell.cell_type == "code" else {})
        nbformat.write(done, FOLDER / f"{name}.ipynb")
        print(f"{name}: executed and written")


if __name__ == "__main__":
    main(sys.argv[1:])
