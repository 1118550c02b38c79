"""The form of the notebooks: what JupyterLab, a diff and a reader who cannot see the pictures rely on."""

import re
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from yaie.course import REPOSITORY
from yaie.course.registry import Lesson, exercise_files, lessons
from yaie.course.tools.notebooks import CHECK, KERNEL, WIDGET, all_notebooks

TAGS = {"nbval-ignore-output", "nbval-check-output", "nbval-skip", "raises-exception"}
MAX_BYTES = 1_500_000
MADE = {f"../exercises/{file.name}" for file in exercise_files()}  # on the learner's machine


@pytest.mark.parametrize("path", all_notebooks(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_notebook_is_in_form(path):
    """A notebook that was not run from the top, or links to nothing, is found by a learner."""
    assert lint(path) == []


def test_every_lesson_has_its_notebooks():
    """A lesson without a notebook, or exercises without their solutions, would only be missed by whoever looks."""
    wanted = [f"notebooks/{lesson.name}.ipynb" for lesson in lessons()]
    wanted += [f"solutions/{lesson.name}.ipynb" for lesson in lessons() if lesson.exercises]
    assert [name for name in wanted if not (REPOSITORY / name).exists()] == []


def test_what_is_out_of_form_is_found(tmp_path):
    """A lint that finds nothing wrong with a bad notebook proves nothing about the good ones."""
    import nbformat

    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": KERNEL, "language_info": {"name": "python"}})
    shown = {"text/plain": "○ 0.2 Another: not attempted\n  Nothing"}
    outcome = nbformat.v4.new_output("execute_result", shown, execution_count=None)
    notebook.cells = [
        nbformat.v4.new_markdown_cell("# Title\n\n### Too deep\n\n![](nothing.png) [gone](gone.md)"),
        nbformat.v4.new_code_cell("%time 1", execution_count=7, metadata={"tags": ["mine"]}),
        nbformat.v4.new_code_cell('steps = yaie.predict("steps", 13)'),
        nbformat.v4.new_code_cell('yaie.exercise("0.1").check()', outputs=[outcome]),
    ]
    path = tmp_path / "00_start_here.ipynb"
    nbformat.write(notebook, path)
    found = "\n".join(lint(path))
    for part in (
        "level 3 follows",
        "no alt text",
        "gone.md, which does not",
        "execution count 7",
        "'mine'",
        "a magic",
        "predicts 13",
        "how far",
        "the check of 0.1 shows '○ 0.2 Another: not attempted'",
    ):
        assert part in found


def lint(path: Path) -> list[str]:
    """What is wrong with the form of a notebook, one sentence each."""
    import nbformat  # which takes seconds, and only one of the processes that collect tests needs it

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
        found += _lint_checks(notebook, lesson)
    found += _lint_predictions(notebook)
    return [f"{path.parent.name}/{path.name}: {problem}" for problem in found]


def _lint_file(path: Path, notebook: Any) -> Iterator[str]:
    if path.stat().st_size > MAX_BYTES:
        yield f"larger than {MAX_BYTES} bytes"
    if notebook.metadata != {"kernelspec": KERNEL, "language_info": {"name": "python"}}:
        yield "its metadata is not what `python -m yaie.course.tools.notebooks` writes"
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
            and target not in MADE
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
        if WIDGET in output.get("data", {}):
            yield "stores a control that is gone with its kernel, and would show as an error"
        if "image/svg+xml" in output.get("data", {}):
            yield "shows a raw SVG, which JupyterLab drops in a notebook that is not trusted"


def _lint_exercises(folder: str, notebook: Any, lesson: Lesson) -> Iterator[str]:
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    text = notebook.cells[0].source if notebook.cells else ""
    if folder == "notebooks" and not re.search(rf"\b{lesson.minutes} minutes", text):
        yield f"the first cell must say {lesson.minutes} minutes, as the course does"
    if folder == "notebooks" and f"**Difficulty:** {lesson.stars}." not in text:
        yield f"the first cell must say **Difficulty:** {lesson.stars}. as its exercises do"
    for exercise in lesson.exercises:
        wanted = [".solution()"] if folder == "solutions" else [".check()"]
        for call in wanted:
            if f'yaie.exercise("{exercise.id}"){call}' not in code:
                yield f'nowhere calls yaie.exercise("{exercise.id}"){call}'


def _lint_checks(notebook: Any, lesson: Lesson) -> Iterator[str]:
    """What a check is stored to say is not compared: after exercises have moved it would go on naming another one."""
    titles = {exercise.id: exercise.title for exercise in lesson.exercises}
    for cell in notebook.cells:
        if cell.cell_type == "code" and (check := CHECK.fullmatch(cell.source)):
            said = "".join(output.get("data", {}).get("text/plain", "") for output in cell.outputs)
            if f"{check[1]} {titles.get(check[1])}: not attempted" not in said:
                yield f"the check of {check[1]} shows {said.partition(chr(10))[0]!r}: run the notebook again"


def _lint_predictions(notebook: Any) -> Iterator[str]:
    """Shipped without a number, and answered later: else a learner is told the number, or never how far off it was."""
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    for name, number in re.findall(r"^(\w+) = yaie\.predict\(.*, (\S+)\)$", code, flags=re.MULTILINE):
        if number != "...":
            yield f"predicts {number} for {name}; a learner should"
        if f"{name}.compare(" not in code.partition(f"{name} = yaie.predict(")[2]:
            yield f"never says how far off {name} was"
