"""How answers look: nothing cut, nothing taken for markup, the same content in a notebook, a terminal and a pipe."""

import ast
import io
import re

import pytest
from rich.console import Console

import yaie
from yaie.course import REPOSITORY
from yaie.course.registry import exercises
from yaie.course.show import TONES, Fold, Folds, Markdown, Panel, Table, in_notebook

TEXT = "A [bold] word, <b>, :smile: and " + "a long line " * 30
PANEL = Panel(
    "A title that is long enough to be longer than any terminal is wide, so that it has to be wrapped " * 2,
    "bad",
    TEXT,
    [("It printed", "one\n  two, indented"), ("Where", "x" * 300)],
    "exercises/00.py",
)
TABLE = Table("Title", ("A", "B"), [("good", ("1.1", TEXT))], "footer\nsecond line")


def rendered(view, width):
    console = Console(width=width, force_terminal=True, color_system=None, record=True, file=io.StringIO())
    console.print(view)
    return console.export_text()


def words(text):
    return re.sub(r"[\s│╭╮╰╯─]", "", text)


@pytest.mark.parametrize("width", [40, 80, 120, 250])
@pytest.mark.parametrize("view", [PANEL, TABLE], ids=["panel", "table"])
def test_terminal_cuts_nothing(view, width):
    """A frame wider than the terminal breaks into pieces, a title in the frame is cut, markup in text is swallowed."""
    text = rendered(view, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert "[bold]" in words(text)
    assert ":smile:" in words(text)
    if view is PANEL:
        assert words(PANEL.title) in words(text)
        assert "x" * 300 in words(text).replace("Where", "")
        assert text.splitlines()[0][-1] == "╮"


def test_plain_text_has_every_part_and_no_frame():
    """Pipes and logs get this; a wrapped or framed line cannot be searched."""
    text = str(PANEL)
    assert all(part in text for part in (PANEL.title, TEXT.strip(), "two, indented", "x" * 300, "exercises/00.py"))
    assert not re.search("[│╭╮╰╯─]", text)
    assert str(TABLE).splitlines()[-1] == "second line"


def test_html_escapes_and_keeps_lines():
    """A learner's output must not become HTML of the notebook, nor lose its indentation."""
    html = PANEL.html() + TABLE.html()
    assert "<b>," not in html
    assert "&lt;b&gt;" in html
    assert 'white-space:pre-wrap">one\n  two, indented' in html
    assert 'href="../exercises/00.py"' in html
    assert Panel("", text="`a < b`").html().count("<code>a &lt; b</code>") == 1


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("tone", TONES)
@pytest.mark.parametrize("background", ["#ffffff", "#111111"])
def test_colours_can_be_seen_on_light_and_dark(tone, background):
    """A sign in a colour made for white paper is lost in a dark theme (3:1 is the least for signs)."""
    light, dark = sorted((luminance(TONES[tone][1]), luminance(background)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 3


def test_notebook_gets_both_forms():
    """A frontend without HTML (a diff, a terminal client) must show words, not an object's address."""
    bundle = PANEL._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}
    assert bundle["text/plain"] == str(PANEL) == repr(PANEL)


STATEMENT = Markdown(
    "Give **two** `tokens < 3`:\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n- <script>no()</script>\n- [x](javascript:no)\n"
)


def test_markdown_is_formatted_and_can_bring_no_html():
    """A statement with a table must not be shown as bars and dashes, and one with a `<` must not lose the rest."""
    html = Panel("Title", text=STATEMENT).html()
    assert "<strong>two</strong> <code>tokens &lt; 3</code>" in html
    assert re.search('<td style="text-align:left[^>]*>2</td>', html)  # to the left, as people read
    assert "<script>" not in html
    assert "href" not in html
    assert "&lt;script&gt;no()" in html
    text = rendered(Panel("Title", text=STATEMENT), 80)
    assert "two tokens < 3:" in text
    assert "**" not in text
    assert "**two**" in str(Panel("Title", text=STATEMENT))  # plain text is what was written


def test_a_learners_text_is_not_markdown():
    """What a program printed must be shown letter by letter: `**` is a power and not an emphasis."""
    assert "2**3 | 4**5" in Panel("", text="2**3 | 4**5").html()


SAYINGS = {
    "`yaie hint 1.2`": '`yaie.exercise("1.2").hint()`',
    "run `yaie reset 2` or `yaie check 10.4`": 'run `yaie.reset("2")` or `yaie.exercise("10.4").check()`',
    "`yaie board`": "`yaie.board()`",
    "`yaie update`": "`yaie.update()`",
    "`yaie chat --exercises`": '`yaie.LLM(parts="exercises").parts`',
    "`yaie chat --exercises --backend emulator`": '`yaie.LLM(parts="exercises", backend="emulator").parts`',
    "yaie chat": "yaie chat",
}


@pytest.mark.parametrize("text", SAYINGS)
def test_a_notebook_is_told_calls_and_a_terminal_commands(text):
    """`yaie hint 1.2` typed into a cell is a syntax error, and a call typed into a shell another."""
    panel = Panel("Title", rows=[("Next step", text)])
    bundle = panel._repr_mimebundle_()
    assert SAYINGS[text] in bundle["text/plain"]
    assert html_of(SAYINGS[text]) in bundle["text/html"]
    assert text in str(panel)
    assert text in rendered(panel, 120)


def html_of(text):
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", text.replace('"', "&quot;"))


FOLDS = Folds(
    "Title",
    [
        Fold("01 Open", [("good", ("1.1", "<b>", "passed")), ("bad", ("1.2", "two", "failed"))], True),
        Fold("02 Folded", [("open", ("2.1", "three", "not attempted"))], False),
        Fold("03 Empty", [], True),
    ],
    "footer",
    "notebooks/01.ipynb",
    Panel("A panel", "good"),
)


def test_folds_show_a_bar_and_open_where_one_is():
    """A board of ninety rows hides what comes next; one without the rows hides what failed."""
    text = str(FOLDS)
    assert text.splitlines()[1] == "01 Open    1 of 2   ■□"
    assert text.splitlines()[2] == "    ✓ 1.1  <b>  passed"
    assert "three" not in text
    assert text.endswith("footer\n✓ A panel")
    assert words(text) == words(rendered(FOLDS, 120)).replace("\n", "")
    html = FOLDS.html()
    assert html.count("<details open>") == 2
    assert "three" in html  # there to be unfolded
    assert "&lt;b&gt;" in html
    assert html.count("background-color") == 3
    assert 'href="../notebooks/01.ipynb"' in html


def said(path):
    """The strings of a Python file that are no docstrings, with 1.2 for whatever is put into them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "1.2" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (inside | docs):
            yield node.value


def test_every_command_that_is_advised_has_a_call():
    """A new command in a message, which a notebook would show as it is. Brothers: hints, statements, mistakes."""
    files = [path for path in (REPOSITORY / "yaie" / "course").rglob("*.py") if "lessons" not in path.parts]
    files = [path for path in files if path.parent.name != "tools" and path.name != "show.py"]
    texts = [text for path in files for text in said(path)]
    for each in exercises():
        texts += [each.statement, *each.hints, *(mistake.message for mistake in each.mistakes)]
    advice = [text for text in texts if "`yaie " in text]
    assert len(advice) > 8
    assert [text for text in advice if "`yaie " in in_notebook(text)] == []
    for call in {call for text in advice for call in re.findall(r"`(yaie\.\w+)", in_notebook(text))}:
        assert hasattr(yaie, call.partition(".")[2]), call
