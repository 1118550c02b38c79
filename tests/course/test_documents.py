"""Map, glossary and cheat sheet say what the lessons, the notebooks and the emulator say."""

import re

import pytest
import torch

import yaie.cuda
from yaie.course import REPOSITORY
from yaie.course.tools import documents
from yaie.cuda.findings import TITLES

SHEET = (REPOSITORY / "notebooks" / "cuda_cheat_sheet.md").read_text(encoding="utf-8")
GLOSSARY = documents.GLOSSARY.read_text(encoding="utf-8")


def test_documents_are_up_to_date(capsys):
    """Minutes, hours and stars of before a change; `python -m yaie.course.tools.documents` renews them."""
    assert documents.main(["--check"]) == 0, capsys.readouterr().out


def test_stale_documents_are_noticed():
    """A comparison that finds nothing wrong with a wrong map proves nothing about the right one."""
    text = documents.README.read_text(encoding="utf-8")
    for old, new in (
        ("| 110 |", "| 111 |"),
        ("★★☆", "★★★"),
        ("| Python only | 00 to 07 |", "| Python only | 00 to 06 |"),
    ):
        assert documents.readme(text.replace(old, new, 1)) == text != text.replace(old, new, 1)
    assert "| copies of pages" in text
    assert "| other words |" in documents.readme(re.sub(r"\| copies of pages.* \|", "| other words |", text))
    link = "**warp** ([09](09_memory_operations.ipynb))"
    assert link in documents.glossary(GLOSSARY.replace(link, "**warp** ([08](08_first_kernel.ipynb))"))
    with pytest.raises(LookupError, match=r"no notebook sets \*nonsense\*"):
        documents.glossary(GLOSSARY + "- **nonsense** (): a word\n")


def test_glossary_is_sorted_and_has_what_is_called_something():
    """A word that a notebook introduces as "called ..." must be there, and where one looks for it."""
    terms = [term.lower() for term, _ in documents.TERM.findall(GLOSSARY)]
    assert terms == sorted(terms)
    assert len(set(terms)) == len(terms) == GLOSSARY.count("\n- ")
    known = {documents.singular(term) for term in terms}
    prose = "\n".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "notebooks").glob("*.ipynb"))
    called = set(re.findall(r"\bcalled (?:an? |the )?\*([^*\n]+)\*", prose))
    assert len(called) > 10
    assert {word for word in called if documents.singular(word) not in known} == set()


@pytest.mark.parametrize("text", [SHEET, GLOSSARY], ids=["sheet", "glossary"])
def test_links_lead_somewhere(text):
    """A page of links that lead nowhere."""
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    assert targets
    assert [target for target in targets if not (REPOSITORY / "notebooks" / target).exists()] == []


def first_cells(heading):
    section = SHEET.split(f"## {heading}")[1].split("\n## ")[0]
    return [name for row in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE) for name in re.findall(r"`(.+?)`", row)]


def test_cheat_sheet_names_what_the_emulator_says():
    """A finding or a column under a name that is never shown."""
    findings = first_cells("What the emulator says")
    assert len(findings) > 10
    assert [name for name in findings if not any(name in title for title in TITLES.values())] == []
    columns = first_cells("What `profile()` counts")
    assert len(columns) > 5
    (kernel,) = re.findall(r"```cpp\n(.*?)```", SHEET, re.DOTALL)
    module = yaie.cuda.load(kernel, backend="emulator", check=True)
    x, factor, y = torch.rand(3, 300), torch.rand(3), torch.zeros(3, 300)
    head = module.profile("scale", x, factor, y, 3, 300).table().split("\n")[0]
    assert [name for name in columns if name not in head] == []
    module.scale(x, factor, y, 3, 300)
    assert torch.equal(y, factor[:, None] * x)
    module.scale(x[:0], factor[:0], y[:0], 0, 300)
