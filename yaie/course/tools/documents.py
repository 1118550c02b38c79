"""Renew what documents say of the lessons: the map in the README and in lesson 00, the links of the glossary.

    python -m yaie.course.tools.documents            write them
    python -m yaie.course.tools.documents --check    say which are out of date (exit 1), write nothing

Titles, minutes and difficulty come from the lessons' folders. A term is introduced where a notebook first sets it in
italics. What a lesson builds is written in the README, what a term means in the glossary; both stay as they are.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import jinja2

from yaie.course import REPOSITORY
from yaie.course.files import write_whole
from yaie.course.registry import lessons

README, GLOSSARY = REPOSITORY / "README.md", REPOSITORY / "notebooks" / "glossary.md"
START = REPOSITORY / "notebooks" / "00_start_here.ipynb"
MAP = re.compile(r"(?<=<!-- map of lessons -->\n).*?(?=<!-- end of the map -->)", re.DOTALL)
TERM = re.compile(r"^- \*\*(.+?)\*\* \(.*?\): (.+)$", re.MULTILINE)
ITALIC = re.compile(r"(?<![*\w\\])\*([^*\n]+?)\*(?![*\w])")


def readme(text: str) -> str:
    """The README with the map as it is now: map.md, filled in."""
    built = dict(re.findall(r"^\|.*?\]\(notebooks/(\w+)\.ipynb\).*\| (.*?) \|$", text, re.MULTILINE))
    template = jinja2.Template(Path(__file__).with_name("map.md").read_text(encoding="utf-8"))
    return MAP.sub(lambda _: template.render(lessons=lessons(), built=built), text)


def start_here(text: str, readme: str) -> str:
    """Lesson 00 with the README's map in the cell that has one."""
    notebook, links = json.loads(text), MAP.search(readme)[0].replace("](notebooks/", "](")
    for cell in notebook["cells"]:
        cell["source"] = MAP.sub(lambda _: links, "".join(cell["source"])).splitlines(keepends=True)
    return f"{json.dumps(notebook, indent=1, ensure_ascii=False)}\n"


def introductions() -> Iterator[tuple[str, str]]:
    """(what is set in italics, the notebook's name without ending), in the order of the course."""
    for lesson in lessons():
        text = (REPOSITORY / "notebooks" / f"{lesson.name}.ipynb").read_text(encoding="utf-8")
        for cell in json.loads(text)["cells"]:
            if cell["cell_type"] == "markdown":
                prose = re.sub(r"```.*?```|`[^`\n]*`", "", "".join(cell["source"]), flags=re.DOTALL)
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
    top = readme(README.read_text(encoding="utf-8"))
    return {
        README: top,
        START: start_here(START.read_text(encoding="utf-8"), top),
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
