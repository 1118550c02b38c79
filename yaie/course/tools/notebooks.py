"""Run the notebooks and store what they show; lint their form.

    python -m yaie.course.tools.notebooks run [--fresh] [FILE ...]     all of them without FILE
    python -m yaie.course.tools.notebooks lint [FILE ...]

Notebooks are stored as a learner first meets them: run from top to bottom with no exercise attempted. Running again
changes nothing: a cell whose output is not compared (`nbval-ignore-output`) keeps what it showed; --fresh renews it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import nbformat

from yaie.course import REPOSITORY
from yaie.course.registry import Lesson, lessons
from yaie.course.tools import generate

FOLDERS = ("notebooks", "solutions")
TAGS = {"nbval-ignore-output", "nbval-check-output", "nbval-skip", "raises-exception"}
MAX_BYTES = 1_500_000
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def run(path: Path, *, fresh: bool = False) -> None:
    """Execute a notebook in a new kernel and store its outputs. Raises nbclient's CellExecutionError."""
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    before = {cell.id: cell.get("outputs", []) for cell in notebook.cells}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.metadata.pop("execution", None)
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        store_widget_state=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    for cell in notebook.cells:
        ignored = "nbval-ignore-output" in cell.metadata.get("tags", [])
        if ignored and before[cell.id] and not fresh:
            cell.outputs = before[cell.id]
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    nbformat.write(notebook, path)


def lint(path: Path) -> list[str]:
    """What is wrong with the form of a notebook, one sentence each."""
    notebook = nbformat.read(path, as_version=4)
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        return [f"{path.name}: not a valid notebook: {error.message}"]
    found = [*_lint_file(path, notebook), *_lint_text(path, notebook)]
    number = 0
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            number += 1
            found += [f"cell {index}: {problem}" for problem in _lint_code(cell, number)]
    lesson = next((lesson for lesson in lessons() if lesson.name == path.stem), None)
    if lesson is None:
        found.append("no lesson of the course has this name")
    else:
        found += _lint_exercises(path.parent.name, notebook, lesson)
    return [f"{path.parent.name}/{path.name}: {problem}" for problem in found]


def _lint_file(path: Path, notebook: Any) -> Iterator[str]:
    if path.stat().st_size > MAX_BYTES:
        yield f"larger than {MAX_BYTES} bytes"
    if notebook.metadata != {"kernelspec": KERNEL, "language_info": {"name": "python"}}:
        yield "its metadata is not what `python -m yaie.course.tools.notebooks run` writes"
    text = path.read_text(encoding="utf-8")
    for place in {str(REPOSITORY), str(Path.home()), tempfile.gettempdir()}:
        if f"{place}/" in text:
            yield f"shows a path of the machine it was run on ({place})"


def _lint_text(path: Path, notebook: Any) -> Iterator[str]:
    """One H1 in the first cell, no heading level skipped, links to files that exist, images with alt text."""
    markdown = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    text = re.sub(r"^```.*?^```", "", "\n\n".join(markdown), flags=re.MULTILINE | re.DOTALL)
    levels = [len(mark) for mark in re.findall(r"^(#{1,6}) ", text, flags=re.MULTILINE)]
    if levels.count(1) != 1 or levels[:1] != [1]:
        yield "needs exactly one title (# ...), in its first cell"
    for above, below in pairwise(levels):
        if below > above + 1:
            yield f"a heading of level {below} follows one of level {above}"
    for alt, target in re.findall(r"!\[(.*?)\]\((.*?)\)", text):
        if not alt:
            yield f"image {target} has no alt text"
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if (
            not target.startswith(("http://", "https://", "#"))
            and not (path.parent / target.partition("#")[0]).exists()
        ):
            yield f"link to {target}, which does not exist"


def _lint_code(cell: Any, number: int) -> Iterator[str]:
    tags = set(cell.metadata.get("tags", []))
    if cell.execution_count != number:
        yield f"execution count {cell.execution_count}, not {number}: run the notebook from top to bottom"
    if tags - TAGS:
        yield f"tags {sorted(tags - TAGS)} mean nothing here; allowed are {sorted(TAGS)}"
    if set(cell.metadata) - {"tags"}:
        yield f"metadata {sorted(set(cell.metadata) - {'tags'})} should not be stored"
    if re.search(r"^\s*[%!]", cell.source, flags=re.MULTILINE):
        yield "uses a magic; call a function instead"
    for output in cell.outputs:
        if output.output_type == "error" and "raises-exception" not in tags:
            yield f"shows an error: {output.ename}"
        if output.output_type == "stream" and output.name == "stderr":
            yield "prints to stderr"
        for image in re.findall(r"<img [^>]*>", output.get("data", {}).get("text/html", "")):
            if not re.search(r'alt="[^"]+"', image):
                yield "shows an image without alt text"
        if "image/svg+xml" in output.get("data", {}):
            yield "shows a raw SVG, which JupyterLab drops in a notebook that is not trusted"


def _lint_exercises(folder: str, notebook: Any, lesson: Lesson) -> Iterator[str]:
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    text = notebook.cells[0].source if notebook.cells else ""
    if folder == "notebooks" and not re.search(rf"\b{lesson.minutes} minutes", text):
        yield f"the first cell must say {lesson.minutes} minutes, as the course does"
    for exercise in lesson.exercises:
        wanted = [".solution()"] if folder == "solutions" else [".check()"]
        for call in wanted:
            if f'yaie.exercise("{exercise.id}"){call}' not in code:
                yield f'nowhere calls yaie.exercise("{exercise.id}"){call}'


def all_notebooks() -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((REPOSITORY / folder).glob("*.ipynb"))]


def missing() -> list[str]:
    """Lessons without a notebook or, where they have exercises, without a solution notebook."""
    wanted = [f"notebooks/{lesson.name}.ipynb" for lesson in lessons()]
    wanted += [f"solutions/{lesson.name}.ipynb" for lesson in lessons() if lesson.exercises]
    return [f"{name} does not exist" for name in wanted if not (REPOSITORY / name).exists()]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m yaie.course.tools.notebooks", description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("run", "lint"))
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--fresh", action="store_true", help="renew the outputs that are not compared, too")
    options = parser.parse_intermixed_args(arguments)
    paths = options.files or all_notebooks()
    if options.what == "lint":
        problems = [problem for path in paths for problem in lint(path)]
        problems += [] if options.files else missing()
        print("\n".join(problems) if problems else f"{len(paths)} notebooks are in form")
        return 1 if problems else 0
    exercises = REPOSITORY / "build" / "as-shipped"
    shutil.rmtree(exercises, ignore_errors=True)
    generate.write(exercises)
    os.environ["YAIE_EXERCISES_DIR"] = str(exercises)
    for path in paths:
        print(f"running {path}", flush=True)
        run(path, fresh=options.fresh)
    return 0


if __name__ == "__main__":
    sys.exit(main())
