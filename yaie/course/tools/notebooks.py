"""Run the notebooks and store what they show.

    python -m yaie.course.tools.notebooks [--fresh] [FILE ...]     all of them without FILE

Notebooks are stored as a learner first meets them: run from top to bottom with no exercise attempted. Running again
changes nothing: a cell whose output is not compared (`nbval-ignore-output`) keeps what it showed; --fresh renews it.
What a check says of an exercise that was not attempted is always the same, and is renewed: its number may be another.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from pathlib import Path

from yaie.course import REPOSITORY
from yaie.course.files import write_whole
from yaie.course.tools import generate

FOLDERS = ("notebooks", "solutions")
WIDGET = "application/vnd.jupyter.widget-view+json"
CHECK = re.compile(r'yaie\.exercise\("([\d.]+)"\)\.check\(\)')  # a cell that is a check and nothing else
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def run(path: Path, *, fresh: bool = False) -> None:
    """Execute a notebook in a new kernel and store its outputs. Raises nbclient's CellExecutionError."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    before = {cell.id: cell.get("outputs", []) for cell in notebook.cells}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.metadata.pop("execution", None)
    where = {"metadata": {"path": str(path.parent)}}
    options = {"record_timing": False, "coalesce_streams": True, "store_widget_state": False}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where, **options).execute()
    for cell in notebook.cells:
        ignored = "nbval-ignore-output" in cell.metadata.get("tags", [])
        if ignored and before[cell.id] and not fresh and not CHECK.fullmatch(cell.source):
            cell.outputs = before[cell.id]
        for output in cell.get("outputs", []):  # a slider's control is gone with its kernel; its still picture stays
            output.get("data", {}).pop(WIDGET, None)
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    write_whole(path, f"{nbformat.writes(notebook)}\n".encode())


def all_notebooks() -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((REPOSITORY / folder).glob("*.ipynb"))]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m yaie.course.tools.notebooks", description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="all notebooks without one")
    parser.add_argument("--fresh", action="store_true", help="renew the outputs that are not compared as well")
    options = parser.parse_args(arguments)
    exercises = REPOSITORY / "build" / "as-shipped"
    shutil.rmtree(exercises, ignore_errors=True)
    generate.write(exercises)
    os.environ["YAIE_EXERCISES_DIR"] = str(exercises)
    for path in options.files or all_notebooks():
        print(f"running {path}", flush=True)
        run(path, fresh=options.fresh)
    return 0


if __name__ == "__main__":
    sys.exit(main())
