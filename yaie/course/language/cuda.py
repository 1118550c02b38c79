"""Exercises in CUDA: functions of `csrc/`, found by their braces, put into the engine by splicing texts.

The learner's file holds only the functions of its exercises. To compile one, the whole file is put into the engine's
file instead of the function (`spliced`), so that the launchers around it are the engine's own. `#line` directives say
which line came from where: compiler messages, findings and profiles name the learner's own lines. A function of a
header is put into each `.cu` file beside it that includes the header.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yaie.course import REPOSITORY
from yaie.course.files import FileProblem, exercise_path
from yaie.course.language import cuda_text, engine_seam
from yaie.course.language.base import WIDTH, Language, Swap, Written, wrapped
from yaie.course.language.cuda_text import Function, NotFound
from yaie.course.sandbox import SandboxError
from yaie.cuda import CompileError, KernelError, Module
from yaie.cuda.lines import where_line
from yaie.cuda.rewrite import find_launchers

if TYPE_CHECKING:
    from yaie.course.registry import Exercise, ExerciseFile

# Where mistakes are said to lie: always in the same place, so that each is compiled once and then found again.
HOME = REPOSITORY / "exercises"
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.MULTILINE)
ONCE = re.compile(r"^[ \t]*#[ \t]*pragma[ \t]+once\b", re.MULTILINE)


class Cuda(Language):
    suffix, comment, fence, ends_process = ".cu", "//", "cpp", "exit"
    header = ("So are launchers and includes. Helper functions and constants of your own may stand here.",)

    # --- the engine's function

    def reference(self, exercise: Exercise) -> str:
        return cuda_text.source(engine_text(exercise.module), _engine_function(exercise))

    def solution(self, exercise: Exercise) -> str:
        return f"{_contract(exercise)}\n{self.reference(exercise)}".lstrip("\n")

    def hole(self, exercise: Exercise) -> str:
        """An empty body, which compiles and does nothing."""
        note = f"exercise {exercise.id}: write this function"
        return cuda_text.stub(engine_text(exercise.module), _engine_function(exercise), note)

    def no_such_answer(self, exercise: Exercise) -> str:
        return self.hole(exercise).partition("{")[0] + '{\n    printf("no such answer");\n    __trap();\n}'

    def idle(self, exercise: Exercise) -> str:
        return self.stub(exercise).replace("{", "{ (void)0;", 1)

    def code(self, answer: str) -> str:
        return cuda_text.normal(answer)

    # --- the exercise file

    def with_answer(self, exercise: Exercise, text: str) -> str:
        return self.render(exercise.file, {exercise.id: text.strip()})

    def sections(self, file: ExerciseFile, functions: Mapping[str, str]) -> Iterator[str]:
        introduced: set[str] = set()
        for exercise in file.exercises:
            if exercise.module not in introduced:
                introduced.add(exercise.module)
                yield _introduction(exercise.module, file.exercises)
            launches = [line for launch in _launches(exercise) for line in _hanging(f"Launched by {launch}")]
            statement = wrapped(exercise.statement, WIDTH - 3)
            above = self.as_comment([*self.banner(exercise), *launches, "", *statement])
            # A broken function is the engine's, so it keeps the engine's words about what it does.
            contract = f"//\n{_contract(exercise)}\n" if exercise.broken else ""
            yield f"{above}\n{contract}{functions[exercise.id]}"

    # --- what a learner has written

    def check_syntax(self, file: ExerciseFile, text: str) -> None:
        self._check_braces(text, file.name)

    def find(self, exercise: Exercise, text: str) -> Written:
        function = self._locate(exercise, text)
        _check_callable(exercise, text, function)
        attempted = not self._is_untouched(exercise, text, function)
        hash = _hash(exercise, text, function) if attempted else ""
        return Written(attempted, hash, function.first_line, function.last_line)

    def span(self, exercise: Exercise, text: str) -> tuple[int, int]:
        function = self._locate(exercise, text)
        return function.first_line, function.last_line

    def _is_untouched(self, exercise: Exercise, text: str, function: Function) -> bool:
        if not exercise.broken:
            return cuda_text.is_hole(text, function)
        return cuda_text.normal(cuda_text.source(text, function)) == cuda_text.normal(self.stub(exercise))

    def _locate(self, exercise: Exercise, text: str) -> Function:
        self._check_braces(text, exercise.file.name, exercise.function)
        try:
            return cuda_text.find(text, exercise.function)
        except NotFound as error:
            raise self.missing(exercise, _where_it_went(exercise, text)) from error

    def _check_braces(self, text: str, name: str, looking_for: str = "") -> None:
        """Raise `FileProblem` where a brace of a learner's file has no partner, and say whose it is."""
        self.check_text(name, text)
        try:
            cuda_text.check_braces(text)
        except NotFound as error:
            step = "No function of the file can be told from the next until the braces match. Fix it and save."
            owner = re.search(r", of `(\w+)`,", str(error))
            if looking_for and owner and owner.group(1) != looking_for:
                step = f"It is in `{owner.group(1)}`, not in `{looking_for}`. {step}"
            raise FileProblem(f"{name}: {error}.", step) from error

    # --- into the engine

    def load(self, file: ExerciseFile, text: str, *, learners: bool = True) -> str:
        return text  # it is compiled where it is used

    def swap(self, file: ExerciseFile, loaded: str, use: Iterable[str]) -> Swap:
        swap, use = Swap(), set(use)
        path, rungs = exercise_path(file), {}
        for module, exercises in by_compiled_file(file, use).items():
            make = partial(spliced, file, path, loaded, module, exercises)
            engine_seam.add_source(swap, under_csrc(module), cache(make))
            for family, rung in fastest_rungs(module, frozenset(each.function for each in exercises)).items():
                rungs[family] = max(rung, rungs.get(family, 0))
        engine_seam.add_rungs(swap, rungs)
        return swap

    def module(self, exercise: Exercise, text: str, backend: str, check: bool) -> Module:
        use = [exercise.id] if exercise.broken or self.find(exercise, text).attempted else []
        swap = self.install(exercise.file, text, use)
        try:
            return engine_seam.module(under_csrc(checked_files(exercise)[0]), backend, check)
        finally:
            swap.take_out()

    def owner(self, exercise: Exercise) -> str:
        texts = engine_seam.sources()
        for name in map(under_csrc, compiled_files(exercise.module)):
            if name in texts:
                line = cuda_text.find(texts[name], exercise.function).first_line
                return Path(where_line(texts[name], line, engine_seam.CSRC / name)[0]).name
        return Path(exercise.module).name

    # --- in a check

    def prepare(self) -> None:
        """Build the emulator. The first time this takes some seconds, and it says so."""
        try:
            engine_seam.prepare()
        except CompileError as error:
            raise SandboxError(error.message) from error

    def prepare_mistakes(self, exercise: Exercise, texts: Iterable[str]) -> None:
        """Compile them on all cores, in the form in which the workers will ask for them."""
        path, checked = HOME / exercise.file.name, checked_files(exercise)
        engine_seam.prepare(
            (under_csrc(module), spliced(exercise.file, path, text, module, [exercise]))
            for text in texts
            for module in checked
        )

    def set_up_worker(self, call_limit: float) -> None:
        engine_seam.limit_calls(call_limit)

    def report(self, exercise: Exercise, error: BaseException) -> dict[str, Any]:
        """What a compile error or the first finding of the emulator says."""

        def where(file: str | None, line: int | None) -> dict[str, Any]:
            return {"line": line} if line and file == str(exercise_path(exercise.file)) else {}

        if isinstance(error, CompileError):
            named_twice = re.search("redefinition|redeclar|conflicting decl", error.message)
            note = "The engine's own file has that name already: use its, or give yours another name."
            return {
                "kind": "compile",
                "compiler": error.message,
                "note": note if named_twice else "",
                **where(error.file, error.line),
            }
        if isinstance(error, KernelError):
            first = error.findings[0]
            title, *details = [line.strip() for line in first.text.split("\n")]
            place = where(first.file, first.line)
            if place:
                del details[0]  # the line, which is shown anyway
            return {
                "kind": "finding",
                "error": first.kind,
                "what": title,
                "array": first.array if first.array in _tensor_names(exercise) else "",
                "details": "\n".join(line for line in details if not line.startswith("likely cause: ")),
                "cause": first.cause[0].upper() + first.cause[1:],
                **place,
            }
        return {}


CUDA = Cuda()


# --- what the engine has


def under_csrc(module: str) -> str:
    """How the engine names a file: "memory/copy_blocks.cu" for "csrc/memory/copy_blocks.cu"."""
    return module.removeprefix("csrc/")


@cache
def engine_text(module: str) -> str:
    """The text of the engine's file "csrc/..."."""
    return (REPOSITORY / module).read_text(encoding="utf-8")


@cache
def compiled_files(module: str) -> tuple[str, ...]:
    """The `.cu` files that a function of "csrc/..." is compiled in: the file itself, or all that include the header."""
    if module.endswith(".cu"):
        return (module,)
    header = (REPOSITORY / module).resolve()
    users = [path for path in sorted(header.parent.glob("*.cu")) if _leads_to(path.resolve(), header)]
    if not users:
        raise LookupError(f"no .cu file beside {module} includes it")
    return tuple(str(Path(module).parent / path.name) for path in users)


def _local_headers(text: str, folder: Path) -> list[Path]:
    return [(folder / name).resolve() for name in INCLUDE.findall(text) if (folder / name).is_file()]


def _leads_to(path: Path, header: Path) -> bool:
    """Whether the file is the header, or includes it directly or through others."""
    headers = _local_headers(path.read_text(encoding="utf-8"), path.parent)
    return path == header or any(_leads_to(each, header) for each in headers)


def checked_files(exercise: Exercise) -> tuple[str, ...]:
    """Those of the `compiled_files` that the check asks for: a header is in many, and a check names a few of them."""
    files, text = compiled_files(exercise.module), (exercise.folder / "check.py").read_text(encoding="utf-8")
    return tuple(file for file in files if Path(file).stem in text) or files


def _tensor_names(exercise: Exercise) -> set[str]:
    """The names by which the launchers of the exercise's file, and so findings, call the tensors."""
    launchers = [
        launcher
        for module in compiled_files(exercise.module)
        for launcher in find_launchers(engine_text(module), REPOSITORY / module)
    ]
    return {parameter.name for launcher in launchers for parameter in launcher.parameters}


@cache
def fastest_rungs(module: str, functions: frozenset[str]) -> dict[str, int]:
    """Which rung of each ladder the engine has to take so that one of the functions runs: the fastest that needs one.

    A ladder is known by its launchers in the `.cu` file: `paged_decode_2_warp_per_head` is rung 2 of `paged_decode`.
    """
    uses: dict[str, set[str]] = {}
    for text in _with_headers(REPOSITORY / module):
        for piece in cuda_text.pieces(text):
            for name in piece.defines:
                uses.setdefault(name, set()).update(piece.uses)
    rungs: dict[str, int] = {}
    for launcher in find_launchers(engine_text(module), REPOSITORY / module):
        ladder, needed, new = re.fullmatch(r"(\w+?)_(\d+)_\w+", launcher.name), set(), {launcher.name}
        while new:
            needed |= new
            new = set().union(*(uses.get(name, ()) for name in new)) - needed
        if ladder and needed & functions:
            rungs[ladder[1]] = max(int(ladder[2]), rungs.get(ladder[1], 0))
    return rungs


def _engine_function(exercise: Exercise) -> Function:
    try:
        return cuda_text.find(engine_text(exercise.module), exercise.function)
    except NotFound as error:
        raise LookupError(f"exercise {exercise.id}: {exercise.module}: {error}") from error


def _contract(exercise: Exercise) -> str:
    """The comment above the engine's function; empty where there is none."""
    return cuda_text.leading_comment(engine_text(exercise.module), _engine_function(exercise).start)


# --- the exercise file


def _launches(exercise: Exercise) -> list[str]:
    """Where the engine launches the kernel: "`vector_add`: add_guarded<<<blocks, threads, 0, stream>>>(a, b, c, n)"."""
    text = engine_text(exercise.module)
    code = cuda_text.blanked(text)
    found = []
    for match in re.finditer(rf"\b{exercise.function}\s*(?:<[^<>;]*>\s*)?<<<[^;]*;", code):
        before = [piece for piece in cuda_text.pieces(text) if piece.start < match.start()]
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
    used = frozenset().union(*(cuda_text.names_used(CUDA.reference(exercise)) for exercise in exercises))
    own = {exercise.function for exercise in exercises}
    lines: list[str] = []
    for text in _with_headers(REPOSITORY / module):
        code = cuda_text.blanked(text)
        for piece in cuda_text.pieces(text):
            if not piece.defines & used or piece.defines & own or 'extern "C"' in text[piece.start : piece.end]:
                continue
            whole = text[piece.start : piece.end].split("\n")
            if code[piece.end - 1] == "}" and re.search(
                r"\)\s*(?:const|noexcept|\s)*\{", code[piece.start : piece.end]
            ):
                body = code.index("{", piece.start)
                comment = cuda_text.leading_comment(text, piece.start)
                lines += [f"//     {line.strip()}" for line in comment.split("\n") if line]
                whole = [" ".join(text[piece.start : body].split()) + ";"]
            else:
                whole[-1] = text[piece.start :].split("\n")[len(whole) - 1]  # with the remark behind it
            lines += [f"//     {line}".rstrip() for line in whole]
    return lines


def _with_headers(path: Path) -> list[str]:
    """The texts of a file's local headers, of those that these include, and of the file itself, which comes last."""
    text = path.read_text(encoding="utf-8")
    return [*(each for header in _local_headers(text, path.parent) for each in _with_headers(header)), text]


def _hanging(text: str) -> list[str]:
    """A line of a comment, filled; what follows the first line stands four columns in."""
    options = {"break_long_words": False, "break_on_hyphens": False, "subsequent_indent": "    "}
    return textwrap.wrap(text, WIDTH - 3, **options)


# --- what a learner has written


def _where_it_went(exercise: Exercise, text: str) -> str:
    known = {other.function for other in exercise.file.exercises}
    code = cuda_text.blanked(text)
    defined = {name for piece in cuda_text.pieces(text) for name in piece.defines} - known
    calls = [name for name in re.findall(r"(\w+)\s*\(", code) if name in defined]
    close = difflib.get_close_matches(exercise.function, calls, n=1, cutoff=0.5)
    if close:
        return f" It has `{close[0]}`: was it renamed?"
    if re.search(rf"\b{exercise.function}\s*\([^{{}}]*\)\s*;", code):
        return " It has a declaration of that name, which ends with `;`: the body in braces is missing."
    return ""


def _check_callable(exercise: Exercise, text: str, function: Function) -> None:
    """Raise `FileProblem` where the function's kind, its result or its parameters differ from the engine's."""
    place = f"`{exercise.function}` in line {function.first_line} of {exercise.file.name}"
    wanted, wanted_types = cuda_text.signature(engine_text(exercise.module), _engine_function(exercise))
    found, found_types = cuda_text.signature(text, function)
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
    lines = [directive.group().strip() for directive in cuda_text.directives(text)]
    kept = _own_pieces(exercise.file, text, [function])
    code = [cuda_text.normal(text[piece.start : piece.end]) for piece in kept]
    return hashlib.sha256("\n".join([*lines, *code]).encode(errors="replace")).hexdigest()[:16]


def _own_pieces(file: ExerciseFile, text: str, functions: list[Function]) -> list[cuda_text.Piece]:
    """The pieces of a learner's file to compile these functions: they, and what they use of the learner's own.

    Functions of other exercises are left out: the engine's own stand in the engine's file.
    """
    names = {function.name for function in functions}
    others = []
    for other in {exercise.function for exercise in file.exercises} - names:
        with suppress(NotFound):  # said when that exercise is checked
            others.append(cuda_text.find(text, other).start)
    return cuda_text.needed(text, names, without=others)


# --- into the engine


def by_compiled_file(file: ExerciseFile, use: set[str]) -> dict[str, list[Exercise]]:
    """The exercises of a learner's file with the ids in `use`, by the `.cu` files that they are compiled in."""
    found: dict[str, list[Exercise]] = {}
    for exercise in file.exercises:
        for module in compiled_files(exercise.module) if exercise.id in use else ():
            found.setdefault(module, []).append(exercise)
    return found


def spliced(
    file: ExerciseFile, path: Path, text: str, module: str, exercises: list[Exercise], start: str | None = None
) -> str:
    """The engine's `.cu` file `module` with the functions of the exercises from a learner's text.

    The lines of `text` are shown as those of `path`. `start` is the text to start from: None for the engine's own, or
    one that has other functions in it.
    """
    engine, home = start or engine_text(module), REPOSITORY / module
    for header in dict.fromkeys(each.module for each in exercises if each.module != module):
        engine = _with_header_inside(engine, home, (REPOSITORY / header).resolve())
    return _splice(file, path, text, home, [each.function for each in exercises], engine)


def _with_header_inside(text: str, home: Path, header: Path, seen: set[Path] | None = None) -> str:
    """The text with the header itself instead of its `#include`.

    A header that includes it is put in alike: else it would bring the original. A second `#include` of one of them
    becomes an empty line, as with `#pragma once`.
    """
    seen = set() if seen is None else seen
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        included = (home.parent / match[1]).resolve() if match else None
        if included is None or not included.is_file() or not _leads_to(included, header):
            continue
        if included in seen:
            lines[number - 1] = ""
            continue
        seen.add(included)
        inside = _with_header_inside(ONCE.sub("", included.read_text(encoding="utf-8")), included, header, seen)
        file, after = where_line(text, number, home)
        lines[number - 1] = f'#line 1 "{included}"\n{inside}\n#line {after + 1} "{file}"'
    return "\n".join(lines)


def _splice(file: ExerciseFile, path: Path, text: str, home: Path, names: list[str], engine: str) -> str:
    """One file of the engine with the functions `names` from the learner's text.

    The learner's text, without what belongs to other exercises, replaces the last of the functions as a whole: there it
    may use all that the engine's file defines up to that place. The others become declarations.
    """
    theirs = [cuda_text.find(text, name) for name in names]
    kept = _own_pieces(file, text, theirs)
    own, includes = _without_includes(cuda_text.keep_only(text, kept), path)
    ours = sorted((cuda_text.find(engine, name) for name in names), key=lambda function: function.start)
    parts, done = [], 0
    for function in ours[:-1]:
        parts += [engine[done : function.start], _declaration(text, cuda_text.find(text, function.name))]
        parts.append(_line(engine, function.end, home))
        done = function.end
    last = ours[-1]
    parts += [engine[done : last.start], f'\n#line 1 "{path}"\n{own}', _line(engine, last.end, home)]
    parts.append(engine[last.end :])
    return "".join([*includes, _line(engine, 0, home) if includes else "", *parts])


def _declaration(text: str, function: Function) -> str:
    return " ".join(cuda_text.blanked(text[function.start : function.body - 1]).split()) + ";"


def _line(text: str, place: int, home: Path) -> str:
    """The directive that says where the text from `place` on came from."""
    file, line = where_line(text, text.count("\n", 0, place) + 1, home)
    return f'\n#line {line} "{file}"\n'


def _without_includes(text: str, path: Path) -> tuple[str, list[str]]:
    """The learner's text without its includes, and these to stand at the very top of the engine's file.

    A header of the learner's own is looked for beside the learner's file.
    """
    characters, includes = list(text), []
    for directive in cuda_text.directives(text):
        match = re.match(r'[ \t]*#[ \t]*include[ \t]*(<[^>]*>|"[^"]*")', text[directive.start() : directive.end()])
        if match is None:
            continue
        name = match.group(1)
        beside = path.parent / name.strip('"')
        if name.startswith('"') and beside.is_file():
            name = f'"{beside}"'
        line = text.count("\n", 0, directive.start()) + 1
        includes.append(f'#line {line} "{path}"\n#include {name}\n')
        cuda_text.blank(characters, directive.start(), directive.end())
    return "".join(characters), includes
