"""Renew what documents say of the lessons: the map in the README and in lesson 00, the links of the glossary.

    python -m yaie.course.tools.documents            write them
    python -m yaie.course.tools.documents --check    say which are out of date (exit 1), write nothing

Titles, minutes and difficulty come from the lessons' folders. A term is introduced where a notebook first sets it in
italics. What a lesson builds is written in the README, what a term means in the glossary; both stay as they are.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat

from yaie.course import REPOSITORY
from yaie.course.files import write_whole
from yaie.course.registry import lessons

README, GLOSSARY = REPOSITORY / "README.md", REPOSITORY / "notebooks" / "glossary.md"
START = REPOSITORY / "notebooks" / "00_start_here.ipynb"
MAP = ("<!-- map of lessons -->\n", "<!-- end of the map -->\n")
TERM = re.compile(r"^- \*\*(.+?)\*\* \(.*?\): (.+)$", re.MULTILINE)
ITALIC = re.compile(r"(?<![*\w\\])\*([^*\n]+?)\*(?![*\w])")
IN_PYTHON, IN_CUDA, READ_FOR_CUDA = 7, 18, range(2, 6)  # the last lesson of each path; those whose text CUDA needs


def hours(minutes: float) -> str:
    return f"{minutes / 60:.0f}"


def lesson_map(built: dict[str, str]) -> str:
    """The paths and all lessons, as Markdown with links from the repository's top. `built` is by lesson name."""
    python = sum(each.minutes for each in lessons() if each.number <= IN_PYTHON)
    cuda = sum(each.minutes for each in lessons() if IN_PYTHON < each.number <= IN_CUDA)
    serving = [each for each in lessons() if each.number > IN_CUDA]
    served = sum(each.minutes for each in serving)
    first, *_, last = [each.number for each in lessons()]
    start = next(each.minutes for each in lessons() if each.number == first)
    read = [each for each in lessons() if each.number in READ_FOR_CUDA]
    reading = sum(each.minutes - sum(exercise.minutes for exercise in each.exercises) for each in read)
    text_of = f"the text of {read[0].number:02d} to {read[-1].number:02d}"
    rows = [
        "| path | lessons | hours | at the end |",
        "|---|---|---|---|",
        f"| Python only | {first:02d} to {IN_PYTHON:02d} | {hours(python)} "
        "| your scheduler, cache and attention answer questions |",
        f"| CUDA | {first:02d}, {text_of}, {IN_PYTHON + 1:02d} to {IN_CUDA:02d} | {hours(start + reading + cuda)} "
        "| your kernels serve, on a GPU or in the emulator |",
        f"| Serving | {', '.join(f'{each.number:02d}' for each in serving)}, after 07 | {hours(served)} "
        "| your engine answers strangers over HTTP |",
        f"| all | {first:02d} to {last:02d} | {hours(python + cuda + served)} | |",
        "",
        "| lesson | minutes | exercises | difficulty | you build |",
        "|---|---|---|---|---|",
    ]
    for lesson in lessons():
        title = f"[{lesson.number:02d} {lesson.title}](notebooks/{lesson.name}.ipynb)"
        what = built.get(lesson.name) or ", ".join(exercise.title for exercise in lesson.exercises)
        rows.append(f"| {title} | {lesson.minutes} | {len(lesson.exercises)} | {lesson.stars} | {what} |")
    return "\n".join(rows) + "\n"


def readme(text: str) -> str:
    """The README with the map as it is now."""
    before, rest = text.split(MAP[0])
    old, after = rest.split(MAP[1])
    built = dict(re.findall(r"^\|.*?\]\(notebooks/(\w+)\.ipynb\).*\| (.*?) \|$", old, re.MULTILINE))
    return f"{before}{MAP[0]}{lesson_map(built)}{MAP[1]}{after}"


def the_map(text: str) -> str:
    return text.split(MAP[0])[1].split(MAP[1])[0]


def start_here(text: str, lesson_map: str) -> str:
    """Lesson 00 with the README's map in the cell that has one."""
    notebook = nbformat.reads(text, as_version=4)
    (cell,) = [cell for cell in notebook.cells if MAP[0] in cell.source]
    before, rest = cell.source.split(MAP[0])
    after = rest.split(MAP[1].rstrip())[1]
    cell.source = f"{before}{MAP[0]}{lesson_map.replace('](notebooks/', '](')}{MAP[1].rstrip()}{after}"
    return f"{nbformat.writes(notebook)}\n"


def introductions() -> Iterator[tuple[str, str]]:
    """(what is set in italics, the notebook's name without ending), in the order of the course."""
    for lesson in lessons():
        notebook = nbformat.read(REPOSITORY / "notebooks" / f"{lesson.name}.ipynb", as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                prose = re.sub(r"```.*?```|`[^`\n]*`", "", cell.source, flags=re.DOTALL)
                yield from ((word, lesson.name) for word in ITALIC.findall(prose))


def singular(word: str) -> str:
    return word.lower().removesuffix("s")


def glossary(text: str) -> str:
    """The glossary with links to where each term is introduced. Raises LookupError for one that no notebook has."""
    where: dict[str, str] = {}
    for word, name in introductions():
        where.setdefault(singular(word), name)

    def linked(entry: re.Match[str]) -> str:
        term, meaning = entry.groups()
        if singular(term) not in where:
            raise LookupError(f"glossary: no notebook sets *{term}* in italics, as it would where it introduces it")
        name = where[singular(term)]
        return f"- **{term}** ([{name[:2]}]({name}.ipynb)): {meaning}"

    return TERM.sub(linked, text)


def renewed() -> dict[Path, str]:
    """All documents as they should be."""
    top = readme(README.read_text(encoding="utf-8"))
    return {
        README: top,
        START: start_here(START.read_text(encoding="utf-8"), the_map(top)),
        GLOSSARY: glossary(GLOSSARY.read_text(encoding="utf-8")),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m yaie.course.tools.documents", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 where one is out of date")
    check = parser.parse_args(arguments).check
    stale = {path: text for path, text in renewed().items() if path.read_text(encoding="utf-8") != text}
    for path, text in stale.items():
        print(f"{path.relative_to(REPOSITORY)}: {'out of date' if check else 'renewed'}")
        if not check:
            write_whole(path, text.encode())
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
