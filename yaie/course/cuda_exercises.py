"""Exercises in CUDA: the stub in the learner's `.cu` file, and the engine's own file with the learner's function in it.

The learner's file holds only the functions of its exercises. To compile one, the whole file is put into the engine's
file in the place of the function (`spliced`), so that the launchers around it are the engine's own. `#line` directives
say which line came from where: compiler messages, findings and profiles name the learner's own lines.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import textwrap
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

from yaie.course import cuda_source
from yaie.course.cuda_source import Function, NotFound
from yaie.course.registry import REPOSITORY, Exercise, ExerciseFile
from yaie.course.written import FileProblem, Written
from yaie.cuda.lines import where_line
from yaie.cuda.rewrite import find_launchers

WIDTH = 120  # columns of a comment in the generated file


# ---- what the engine has


def native_name(exercise: Exercise) -> str:
    """The name by which `yaie.kernels.native.module` knows the exercise's file: "memory/copy_blocks.cu"."""
    return exercise.module.removeprefix("csrc/")


@cache
def engine_text(module: str) -> str:
    """The text of the engine's file "csrc/..."."""
    return (REPOSITORY / module).read_text(encoding="utf-8")


def tensor_names(exercise: Exercise) -> set[str]:
    """The names by which the launchers of the exercise's file, and so findings, call the tensors."""
    launchers = find_launchers(engine_text(exercise.module), REPOSITORY / exercise.module)
    return {parameter.name for launcher in launchers for parameter in launcher.parameters}


def _engine_function(exercise: Exercise) -> Function:
    try:
        return cuda_source.find(engine_text(exercise.module), exercise.function)
    except NotFound as error:
        raise LookupError(f"exercise {exercise.id}: {exercise.module}: {error}") from error


def reference(exercise: Exercise) -> str:
    """The engine's own source of the exercise's function, without the comment above it."""
    return cuda_source.source(engine_text(exercise.module), _engine_function(exercise))


def contract(exercise: Exercise) -> str:
    """The comment above the engine's function: what it must do. It is all a learner sees, so it must be there."""
    comment = cuda_source.leading_comment(engine_text(exercise.module), _engine_function(exercise).start)
    if not comment:
        raise LookupError(f"exercise {exercise.id}: {exercise.target} needs a comment above it that says what it does")
    return comment


def stub(exercise: Exercise) -> str:
    """The function with an empty body, which compiles and does nothing."""
    note = f"exercise {exercise.id}: write this function"
    return cuda_source.stub(engine_text(exercise.module), _engine_function(exercise), note)


# ---- the file that a learner edits


def exercise_file(file: ExerciseFile, bodies: dict[str, str]) -> str:
    """The text of a lesson's `.cu` file with the functions in `bodies` (by exercise id), less the hash."""
    parts = [_header(file)]
    introduced: set[str] = set()
    for exercise in file.exercises:
        if exercise.module not in introduced:
            introduced.add(exercise.module)
            parts.append(_introduction(exercise.module, file.exercises))
        parts.append(f"{_banner(exercise)}\n{contract(exercise)}\n{bodies[exercise.id]}")
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _header(file: ExerciseFile) -> str:
    lesson, first = file.lesson, file.exercises[0].id
    return (
        f"// Exercises of lesson {lesson.number:02d}: {lesson.title}.\n"
        "//\n"
        f"// {file.what_to_do}\n"
        f'// `yaie.exercise("{first}").check()` in the notebook, or `yaie check {first}` in a terminal.\n'
        "// Functions that you have not written yet are filled in with the engine's own, so any order works.\n"
        "// Launchers and includes are the engine's own, too. Helper functions and constants of yours may stand here.\n"
        "// generated, text hash HASH"
    )


def _banner(exercise: Exercise) -> str:
    title = f"// {'-' * 10} Exercise {exercise.id}: {exercise.title} (about {exercise.minutes} minutes) {'-' * 10}"
    launches = [_comment(f"Launched by {launch}", hanging=4) for launch in _launches(exercise)]
    note = ["// There is a mistake in this function."] if exercise.broken else []
    return "\n".join([title, *note, *launches, *(["//"] if note or launches else [])])


def _launches(exercise: Exercise) -> list[str]:
    """Where the engine launches the kernel: "`vector_add`: add_guarded<<<blocks, threads, 0, stream>>>(a, b, c, n)"."""
    text = engine_text(exercise.module)
    code = cuda_source.blanked(text)
    found = []
    for match in re.finditer(rf"\b{exercise.function}\s*(?:<[^<>;]*>\s*)?<<<[^;]*;", code):
        before = [piece for piece in cuda_source.pieces(text) if piece.start < match.start()]
        holder = re.search(r"(\w+)\s*\(", code[before[-1].start :]) if before else None
        statement = " ".join(text[match.start() : match.end() - 1].split()).replace("( ", "(")
        found.append(f"`{holder.group(1)}`: {statement}" if holder else statement)
    return found


def _introduction(module: str, exercises: Iterable[Exercise]) -> str:
    """What one must know of the engine's file to write its functions: its header comment, and the names it offers."""
    text = engine_text(module)
    header = re.match(r"(?://[^\n]*\n)+", text)
    lines = [f"// {'=' * 20} {module} {'=' * 20}", "//", *(header.group().rstrip().split("\n") if header else [])]
    offered = _offered(module, [exercise for exercise in exercises if exercise.module == module])
    if offered:
        lines += ["//", "// These stand in the engine's file, and you may use them:", *offered]
    return "\n".join(lines)


def _offered(module: str, exercises: list[Exercise]) -> list[str]:
    """The engine's own names that the reference functions use, as comment lines: constants and types whole, functions
    by comment and signature."""
    used = frozenset().union(*(cuda_source.names_used(reference(exercise)) for exercise in exercises))
    own = {exercise.function for exercise in exercises}
    lines: list[str] = []
    for text in _with_headers(REPOSITORY / module):
        code = cuda_source.blanked(text)
        for piece in cuda_source.pieces(text):
            if not piece.defines & used or piece.defines & own or 'extern "C"' in text[piece.start : piece.end]:
                continue
            whole = text[piece.start : piece.end].split("\n")
            if code[piece.end - 1] == "}" and re.search(
                r"\)\s*(?:const|noexcept|\s)*\{", code[piece.start : piece.end]
            ):
                body = code.index("{", piece.start)
                comment = cuda_source.leading_comment(text, piece.start)
                lines += [f"//     {line.strip()}" for line in comment.split("\n") if line]
                whole = [" ".join(text[piece.start : body].split()) + ";"]
            else:
                whole[-1] = text[piece.start :].split("\n")[len(whole) - 1]  # with the remark behind it
            lines += [f"//     {line}".rstrip() for line in whole]
    return lines


def _with_headers(path: Path) -> list[str]:
    """The texts of a file's local headers, of those that these include, and of the file itself, which comes last."""
    text = path.read_text(encoding="utf-8")
    names = re.findall(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', text, re.MULTILINE)
    headers = [path.parent / name for name in names if (path.parent / name).is_file()]
    return [*(each for header in headers for each in _with_headers(header)), text]


def _comment(text: str, hanging: int) -> str:
    return "\n".join(
        textwrap.wrap(
            text,
            WIDTH,
            initial_indent="// ",
            subsequent_indent="// " + " " * hanging,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


# ---- what a learner has written


def find(exercise: Exercise, text: str) -> Written:
    """The exercise's function in the text of a learner's file.

    Raises `FileProblem` where it is missing or renamed, where braces do not match, or where the engine could no longer
    call it.
    """
    function = locate(exercise, text)
    _callable_as_before(exercise, text, function)
    attempted = not _is_untouched(exercise, text, function)
    hash = _hash(exercise, text, function) if attempted else ""
    return Written(exercise, attempted, hash, function.first_line, function.last_line)


def _is_untouched(exercise: Exercise, text: str, function: Function) -> bool:
    if not exercise.broken:
        return cuda_source.is_hole(text, function)
    left = reference(exercise).replace(*exercise.broken)
    return cuda_source.normal(cuda_source.source(text, function)) == cuda_source.normal(left)


def locate(exercise: Exercise, text: str) -> Function:
    """The function in the learner's file, whatever its parameters. Raises `FileProblem` where there is none."""
    name = exercise.file.name
    check_braces(text, name, exercise.function)
    try:
        return cuda_source.find(text, exercise.function)
    except NotFound as error:
        raise FileProblem(
            f"{name} has no function `{exercise.function}`, which exercise {exercise.id} is about."
            + _where_it_went(exercise, text),
            f"Put the function back under that name, or run `yaie reset {exercise.lesson.number}` to write the whole "
            "file anew (a backup is kept).",
        ) from error


def check_braces(text: str, name: str, looking_for: str = "") -> None:
    """Raise `FileProblem` where a brace of a learner's file has no partner, and say whose it is."""
    if "\0" in text:
        raise FileProblem(f"{name} contains null bytes, so it is not text.", "Save it as UTF-8 text.")
    try:
        cuda_source.check_braces(text)
    except NotFound as error:
        step = "No function of the file can be told from the next until the braces match. Mend it and save."
        owner = re.search(r", of `(\w+)`,", str(error))
        if looking_for and owner and owner.group(1) != looking_for:
            step = f"It is in `{owner.group(1)}`, not in `{looking_for}`. {step}"
        raise FileProblem(f"{name}: {error}.", step) from error


def _where_it_went(exercise: Exercise, text: str) -> str:
    known = {other.function for other in exercise.file.exercises}
    code = cuda_source.blanked(text)
    defined = {name for piece in cuda_source.pieces(text) for name in piece.defines} - known
    calls = [name for name in re.findall(r"(\w+)\s*\(", code) if name in defined]
    close = difflib.get_close_matches(exercise.function, calls, n=1, cutoff=0.5)
    if close:
        return f" It has `{close[0]}`: was it renamed?"
    if re.search(rf"\b{exercise.function}\s*\([^{{}}]*\)\s*;", code):
        return " It has a declaration of that name, which ends with `;`: the body in braces is missing."
    return ""


def _callable_as_before(exercise: Exercise, text: str, function: Function) -> None:
    """Raise `FileProblem` where the function's kind, its result or its parameters differ from the engine's."""
    place = f"`{exercise.function}` in line {function.first_line} of {exercise.file.name}"
    wanted, wanted_types = cuda_source.signature(engine_text(exercise.module), _engine_function(exercise))
    found, found_types = cuda_source.signature(text, function)
    if found != wanted:
        raise FileProblem(
            f"{place} is declared as `{found or 'nothing'}`; the engine's as `{wanted}`.",
            "Put the words before its name back: the engine launches it as what it was.",
        )
    extra = found_types[len(wanted_types) :]
    if found_types[: len(wanted_types)] != wanted_types or not all(each.endswith("= default") for each in extra):
        raise FileProblem(
            f"{place} takes ({', '.join(found_types)}); the engine calls it with ({', '.join(wanted_types)}).",
            "Give the function the types of its parameters back: the engine's launcher relies on them. Their names are "
            "yours to choose.",
        )


def _hash(exercise: Exercise, text: str, function: Function) -> str:
    """Hash of the function and of everything in the file that it needs."""
    lines = [directive.group().strip() for directive in cuda_source.directives(text)]
    kept = _own_pieces(exercise.file, text, [function])
    code = [cuda_source.normal(text[piece.start : piece.end]) for piece in kept]
    return hashlib.sha256("\n".join([*lines, *code]).encode(errors="replace")).hexdigest()[:16]


def _own_pieces(file: ExerciseFile, text: str, functions: list[Function]) -> list[cuda_source.Piece]:
    """The pieces of a learner's file to compile these functions: they, and what they use of the learner's own.

    Functions of other exercises are left out: the engine's own stand in the engine's file.
    """
    names = {function.name for function in functions}
    others = []
    for other in {exercise.function for exercise in file.exercises} - names:
        with suppress(NotFound):  # said when that exercise is checked
            others.append(cuda_source.find(text, other).start)
    return cuda_source.needed(text, names, without=others)


# ---- into the engine


def spliced(
    file: ExerciseFile, path: Path, text: str, use: Iterable[str], engine: Callable[[str], str]
) -> dict[str, str]:
    """The engine's files with the learner's functions in them, by the name that `native.module` knows each by.

    `use` are the ids of the exercises to take out of the learner's `text`, whose lines are shown as those of `path`.
    `engine` gives the text to start from for "csrc/...": the engine's own, or one that has other functions in it.
    """
    use, result = set(use), {}
    chosen = [exercise for exercise in file.exercises if exercise.id in use]
    for module in dict.fromkeys(exercise.module for exercise in chosen):
        names = [exercise.function for exercise in chosen if exercise.module == module]
        result[module.removeprefix("csrc/")] = _splice(file, path, text, module, names, engine(module))
    return result


def origin(exercise: Exercise, text: str | None) -> str:
    """The file, without its folder, that the exercise's function comes from in a text made by `spliced`."""
    if text is None:
        return Path(exercise.module).name
    line = cuda_source.find(text, exercise.function).first_line
    return Path(where_line(text, line, REPOSITORY / exercise.module)[0]).name


def _splice(file: ExerciseFile, path: Path, text: str, module: str, names: list[str], engine: str) -> str:
    """One file of the engine with the functions `names` from the learner's text.

    The learner's text, less what belongs to other exercises, stands as a whole in the place of the last of the
    functions: there it may use all that the engine's file defines up to that place. The others become declarations.
    """
    theirs = [cuda_source.find(text, name) for name in names]
    kept = _own_pieces(file, text, theirs)
    own, includes = _without_includes(cuda_source.keep_only(text, kept), path)
    ours = sorted((cuda_source.find(engine, name) for name in names), key=lambda function: function.start)
    home = REPOSITORY / module
    parts, done = [], 0
    for function in ours[:-1]:
        parts += [engine[done : function.start], _declaration(text, cuda_source.find(text, function.name))]
        parts.append(_line(engine, function.end, home))
        done = function.end
    last = ours[-1]
    parts += [engine[done : last.start], f'\n#line 1 "{path}"\n{own}', _line(engine, last.end, home)]
    parts.append(engine[last.end :])
    return "".join([*includes, _line(engine, 0, home) if includes else "", *parts])


def _declaration(text: str, function: Function) -> str:
    return " ".join(cuda_source.blanked(text[function.start : function.body - 1]).split()) + ";"


def _line(text: str, place: int, home: Path) -> str:
    """The directive that says where the text from `place` on came from."""
    file, line = where_line(text, text.count("\n", 0, place) + 1, home)
    return f'\n#line {line} "{file}"\n'


def _without_includes(text: str, path: Path) -> tuple[str, list[str]]:
    """The learner's text without its includes, and these to stand at the very top of the engine's file.

    A header of the learner's own is looked for beside the learner's file.
    """
    characters, includes = list(text), []
    for directive in cuda_source.directives(text):
        match = re.match(r'[ \t]*#[ \t]*include[ \t]*(<[^>]*>|"[^"]*")', text[directive.start() : directive.end()])
        if match is None:
            continue
        name = match.group(1)
        beside = path.parent / name.strip('"')
        if name.startswith('"') and beside.is_file():
            name = f'"{beside}"'
        line = text.count("\n", 0, directive.start()) + 1
        includes.append(f'#line {line} "{path}"\n#include {name}\n')
        cuda_source.blank(characters, directive.start(), directive.end())
    return "".join(characters), includes
