"""Nothing is answered before it is asked: no notebook and no exercise file shows an answer that comes later.

The kind: three lines in a row of the engine's own function, of an exercise of the same or a later lesson, in what a
learner has read before its card. Its brothers, all of which were there once: a function to fix that was a later
exercise with one line changed (10 showed 11.3, 13.2 and 16.2), a profile that quotes source lines (9.3, 12.6), an
example that is the answer with another name (8.1).
"""

import ast
import itertools
import json
import re

import pytest

from yaie.course import REPOSITORY
from yaie.course.language import PYTHON
from yaie.course.registry import exercises, find_exercise, lessons

IN_A_ROW = 3
QUOTED, DISTINCT = 30, 20  # letters of a quoted line that are compared, and how many make it a line of its own kind
TRIVIAL = re.compile(r"[\s{}()\[\];,:]*|else:?|} else {|return;?|continue;?|break;?|pass|__syncthreads\(\);|try:")


def test_no_exercise_file_shows_what_a_lesson_asks_to_predict():
    """The engine's files say how long their kernels take on a card, above the functions that are taken out."""
    files = {exercise.file.name: exercise.file for exercise in exercises()}.values()
    texts = [file.language.render(file) for file in files]
    assert len(texts) > 20
    assert not [text for text in texts if "Measured on" in text]


def code_lines(text, python):
    """The lines of code that say something, without remarks and without blanks."""
    text = re.sub(r'"""(?s:.*?)"""' if python else r"/\*(?s:.*?)\*/", "", text)
    lines = (re.sub(r"#.*" if python else r"//.*", "", line).strip() for line in text.split("\n"))
    return [re.sub(r"\s+", "", line) for line in lines if not TRIVIAL.fullmatch(line)]


def runs(lines):
    return {tuple(lines[start : start + IN_A_ROW]) for start in range(len(lines) - IN_A_ROW + 1)}


def body_of(exercise):
    source = exercise.language.reference(exercise)
    if exercise.language is not PYTHON:
        return source[source.index("{") + 1 :]
    node = ast.parse(source).body[0]
    has_docstring = ast.get_docstring(node) is not None
    return "\n".join(source.split("\n")[node.body[has_docstring].lineno - 1 :])


def answer(exercise):
    """Three lines in a row of the engine's function, and two that a report quotes."""
    lines = code_lines(body_of(exercise), exercise.language is PYTHON)
    quoted = {line[:QUOTED] for line in lines if len(line) >= DISTINCT}
    return runs(lines) | {frozenset(pair) for pair in itertools.combinations(quoted, 2)}


def shown_in(text):
    """The same of a text that learners read."""
    return runs(code_lines(text, True)) | runs(code_lines(text, False))


def quoted_in(output):
    """A profile or a finding names a line and quotes it, behind columns or a colon, and not to its end."""
    ends = {re.sub(r"\s+", "", re.split(r"\s{2,}|: ", line.strip())[-1])[:QUOTED] for line in output.split("\n")}
    return {frozenset(pair) for pair in itertools.combinations(ends & ALL_LINES, 2)}


def read_in_order():
    """(where, what is shown, ids asked for there) for all that learners read, in the order of the course."""
    for lesson in lessons():
        path = REPOSITORY / "notebooks" / f"{lesson.name}.ipynb"
        for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
            source, outputs = "".join(cell["source"]), cell.get("outputs", ())
            asked = re.findall(r'^yaie\.exercise\("([\d.]+)"\)$', source, re.MULTILINE)
            shown = shown_in(source)
            for output in outputs:
                text = "".join(output.get("text") or output.get("data", {}).get("text/plain", ()))
                shown |= shown_in(text) | quoted_in(text)
            yield f"{path.name}, cell {number}", shown, asked
        for file in lesson.files:
            yield f"exercises/{file.name}", shown_in(file.language.render(file)), []


def leaks(order, answers):
    """Where an answer stands that has not been asked for yet."""
    unasked, found = dict(answers), []
    for where, shown, asked in order:
        for id in asked:
            unasked.pop(id, None)
        found += [f"{where} shows {tuple(lines)} of {id}" for id, wanted in unasked.items() for lines in shown & wanted]
    return found


# A function to fix is shown by its own exercise but for one line, so it is no answer to be kept back.
ANSWERS = {exercise.id: answer(exercise) for exercise in exercises() if exercise.broken is None}
ALL_LINES = {line for wanted in ANSWERS.values() for lines in wanted if isinstance(lines, frozenset) for line in lines}


def test_nothing_is_answered_before_it_is_asked():
    assert leaks(read_in_order(), ANSWERS) == []


@pytest.mark.parametrize("id", ["2.2", "9.1", "12.6", "13.2"])
def test_an_answer_too_early_is_found(id):
    """The search must see an answer that is indented and has other remarks, and be silent once it has been asked."""
    exercise = find_exercise(id)
    mark = "#" if exercise.language is PYTHON else "//"
    text = "\n".join(f"    {line}  {mark} remark" for line in body_of(exercise).split("\n"))
    assert leaks([("a cell", shown_in(text), [])], ANSWERS)
    assert not leaks([("its card", set(), [id]), ("a later cell", shown_in(text), [])], {id: ANSWERS[id]})


def test_an_answer_quoted_by_a_profile_is_found():
    """What lesson 12 printed, and lesson 09: two lines of the answer behind counts of accesses, one of them cut off."""
    profile = """
 128 x  load of  4 bytes a lane: const float weight = exp2f(lses[i] - largest);
 128 x  load of  4 bytes a lane: sum += weight * parts[static_cast<int64_t>(i) * str"""
    assert leaks([("a profile", quoted_in(profile), [])], {"12.6": ANSWERS["12.6"]})
    table = """
   30  global load   4  128   4.0  100%           tile[threadIdx.y][threadIdx.x] = x[static_cast<int64_t>(row)
   36  shared load   4  128             1      0  y[static_cast<int64_t>(out_row) * rows + out_col] = tile[thr"""
    assert leaks([("a profile", quoted_in(table), [])], {"9.3": ANSWERS["9.3"]})
