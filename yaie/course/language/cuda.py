"""Exercises in CUDA: functions of `csrc/`, found by their braces, put into the engine by splicing texts.

The learner's file holds only the functions of its exercises. To compile one, the whole file is put into the engine's
file instead of the function (`spliced`), so that the launchers around it are the engine's own. `#line` directives say
which line came from where: compiler messages, findings and profiles name the learner's own lines. A function of a
header is put into each `.cu` file beside it that includes the header.

Where the function is a launcher, its kernels go with it: what stands above it that nothing else needs is taken out too,
and the learner begins with a blank page.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache, lru_cache, partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yaie.course import REPOSITORY
from yaie.course.files import HOME, FileProblem, exercise_path
from yaie.course.language import cuda_text, engine_seam
from yaie.course.language.base import BANNER, Language, Swap, Written, needed
from yaie.course.language.cuda_text import LAUNCHER, NotFound, Piece
from yaie.course.sandbox import SandboxError
from yaie.cuda import CompileError, Finding, KernelError, Module
from yaie.cuda.launchers import find_launchers
from yaie.cuda.source import INCLUDED, Source, digest, quoted, where_line

if TYPE_CHECKING:
    from yaie.course.registry import Exercise, ExerciseFile

ONCE = re.compile(r"^[ \t]*#[ \t]*pragma[ \t]+once\b", re.MULTILINE)


class Cuda(Language):
    suffix, comment, fence, ends_process = ".cu", "//", "cpp", "exit"
    header = ("So are launchers and includes. You may add helper functions and constants of your own.",)
    look = 'yaie.exercise("{id}").module("emulator").profile(...)'

    # --- the engine's function

    def reference(self, exercise: Exercise) -> str:
        return _taken_out(engine_text(exercise.module), exercise.function).source

    def solution(self, exercise: Exercise) -> str:
        comment = _taken_out(engine_text(exercise.module), exercise.function).comment
        return f"{comment}\n{self.reference(exercise)}".lstrip("\n")

    def hole(self, exercise: Exercise) -> str:
        """An empty body, which compiles and does nothing."""
        return cuda_text.stub(_engine_function(exercise), f"exercise {exercise.id}: write this function")

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
            fill = partial(textwrap.wrap, width=116, subsequent_indent="    ")
            launches = [
                line
                for launch in _launches(exercise.module, exercise.function)
                for line in fill(f"Launched by {launch}")
            ]
            above = self.as_comment([*self.banner(exercise), *launches, "", *exercise.statement.split("\n")])
            # A broken function is the engine's, so it keeps the engine's words about what it does.
            words = _engine_function(exercise).comment
            contract = f"//\n{words}\n" if exercise.broken and words else ""
            yield f"{above}\n{contract}{functions[exercise.id]}"

    # --- what a learner has written

    def parse(self, text: str, name: str, looking_for: str = "") -> tuple[Piece, ...]:
        self.check_text(name, text)
        try:
            return cuda_text.pieces(text)
        except NotFound as error:
            step = "Until the braces match, no function of the file can be read. Fix it and save."
            owner = re.search(r", of `(\w+)`,", str(error))
            if looking_for and owner and owner.group(1) != looking_for:
                step = f"It is in `{owner.group(1)}`, not in `{looking_for}`. {step}"
            raise FileProblem(f"{name}: {error}.", step) from error

    def locate(self, exercise: Exercise, text: str) -> Written:
        pieces = self.parse(text, exercise.file.name, exercise.function)
        try:
            function = cuda_text.find(text, exercise.function)
        except NotFound as error:
            declared = any(exercise.function in piece.defines for piece in pieces)
            seen = " It has a declaration of that name, which ends with `;`: the body in braces is missing."
            names = (name for piece in pieces if piece.body for name in piece.defines)
            raise self.missing(exercise, text, names, seen if declared else "") from error
        attempted = not (function.is_hole or self.is_as_found(exercise, function.source))
        own = _own(exercise.file, text, [exercise.function]) if attempted else ""
        hash = digest(cuda_text.normal(own)) if attempted else ""
        problem = _uncallable(exercise, function) or _macro_of_the_engine(exercise, own)
        first_line = _taken_out(text, exercise.function).first_line
        return Written(attempted, hash, first_line, function.last_line, problem=problem)

    # --- into the engine

    def load(self, file: ExerciseFile, text: str, *, learners: bool = True) -> str:
        return text  # it is compiled where it is used

    def swap(self, file: ExerciseFile, loaded: str, use: Iterable[str]) -> Swap:
        swap, use = Swap(), set(use)
        path, rungs = exercise_path(file), {}
        for module, exercises in by_compiled_file(file, use).items():
            make = partial(spliced, file, path, loaded, module, exercises)
            swap.add_made(engine_seam.sources(), under_csrc(module), cache(make))
            for family, rung in fastest_rungs(module, frozenset(each.function for each in exercises)).items():
                rungs[family] = max(rung, rungs.get(family, 0))
        engine_seam.add_rungs(swap, rungs)
        return swap

    def module(self, exercise: Exercise, text: str, backend: str, check: bool) -> Module:
        use = [exercise.id] if exercise.broken or self.find(exercise, text).attempted else []
        with self.swap(exercise.file, text, use):
            return engine_seam.module(under_csrc(checked_files(exercise)[0]), backend, check)

    def owner(self, exercise: Exercise) -> str:
        texts = engine_seam.sources()
        for name in map(under_csrc, compiled_files(exercise.module)):
            with suppress(KeyError, NotFound):  # it is the engine's, or it includes the header of this one
                line = cuda_text.find(texts[name], exercise.function).first_line
                return Path(where_line(texts[name], line, engine_seam.CSRC / name)[0]).name
        return Path(exercise.module).name

    # --- in a check

    def get_ready(self, exercise: Exercise) -> None:
        for module in compiled_files(exercise.module):
            header = () if module == exercise.module else (exercise.module,)
            _taken_out(_with_headers_inside(engine_text(module), REPOSITORY / module, header), exercise.function)
            fastest_rungs(module, frozenset([exercise.function]))
        engine_seam.get_ready()

    def prepare(self, exercise: Exercise, texts: Iterable[str] = ()) -> None:
        """Build the emulator (the first time this takes some seconds), and compile the texts on all cores, in the form
        in which the workers will ask for them."""
        path, more, made = HOME / exercise.file.name, exercise.folder / "check.cu", []
        try:
            for text, module in product(texts, checked_files(exercise)):
                whole = spliced(exercise.file, path, text, module, [exercise])
                whole = engine_seam.with_launchers(whole, more) if more.is_file() else whole
                made.append((under_csrc(module), whole))
            engine_seam.prepare(made)
        except (CompileError, OSError) as error:  # no compiler, no place for what it makes
            raise SandboxError(f"{error} Run `yaie doctor`.") from error

    def report(self, exercise: Exercise, error: BaseException) -> dict[str, Any]:
        """What a compile error or the first finding of the emulator says."""

        def where(at: CompileError | Finding) -> dict[str, Any]:
            """The line of the learner's, if it is there or was called from there."""
            places, path = [(at.file, at.line), *getattr(at, "calls", ())], str(exercise_path(exercise.file))
            return next(({"line": line} for file, line in places if line and file == path), {})

        if isinstance(error, CompileError):
            named_twice = re.search("redefinition|redeclar|conflicting decl", error.message)
            note = "The engine's own file has that name already: use its, or give yours another name."
            return {"kind": "compile", "compiler": error.message, "note": note if named_twice else "", **where(error)}
        if not isinstance(error, KernelError):
            return {}
        first = error.findings[0]
        title, *details = [line.strip() for line in first.text.split("\n")]
        details = "\n".join(line for line in details if not line.startswith("likely cause: "))
        own = where(first)
        called = bool(own) and first.file != str(exercise_path(exercise.file))
        if own and not called:
            details = details.partition("\n")[2]  # the line of the learner's is shown anyway
        return {
            "kind": "finding",
            "error": first.kind,
            "what": title,
            "unnamed": title.replace(f" {first.kernel}", "").replace(f"`{first.array}`", ""),
            "element": first.element if first.kind == "out_of_bounds" else None,
            "array": first.array if first.array in _tensor_names(exercise) else "",
            "details": details,
            "cause": first.cause[0].upper() + first.cause[1:],
            "computed": first.cause if first.computed else "",
            "called": called,
            **own,
        }


CUDA = Cuda()


# --- what the engine has


def under_csrc(module: str) -> str:
    """How the engine names a file: "memory/copy_blocks.cu" for "csrc/memory/copy_blocks.cu"."""
    return module.removeprefix("csrc/")


@cache
def engine_text(module: str) -> str:
    """The text of the engine's file "csrc/..."."""
    if not (REPOSITORY / "csrc").is_dir():
        step = "Clone the repository, then run `make lab` in it."
        raise FileProblem(f"{REPOSITORY} has no csrc/: YAIE was installed without its repository.", step)
    return (REPOSITORY / module).read_text(encoding="utf-8")


@cache
def _with_headers(path: Path) -> dict[Path, str]:
    """The texts of a file of `csrc/`, which comes last, and of all headers there that it includes, directly or not."""
    text = path.read_text(encoding="utf-8")
    headers = Source(path, text).headers()
    inside = {header: text for header, text in headers.items() if header.is_relative_to(REPOSITORY.resolve() / "csrc")}
    return {**inside, path.resolve(): text}


@cache
def compiled_files(module: str) -> tuple[str, ...]:
    """The `.cu` files that a function of "csrc/..." is compiled in: the file itself, or all that include the header."""
    if module.endswith(".cu"):
        return (module,)
    header = (REPOSITORY / module).resolve()
    users = [path.name for path in sorted(header.parent.glob("*.cu")) if header in _with_headers(path)]
    if not users:
        raise LookupError(f"no .cu file beside {module} includes it")
    return tuple(f"{module.rpartition('/')[0]}/{name}" for name in users)


def checked_files(exercise: Exercise) -> tuple[str, ...]:
    """Those of the `compiled_files` that the check asks for: a header is in many, and a check names a few of them."""
    files, text = compiled_files(exercise.module), (exercise.folder / "check.py").read_text(encoding="utf-8")
    return tuple(file for file in files if Path(file).stem in text) or files


def _tensor_names(exercise: Exercise) -> set[str]:
    """The names by which the launchers of the exercise's file, and so findings, call the tensors."""
    files = ((engine_text(module), REPOSITORY / module) for module in compiled_files(exercise.module))
    return {
        each.name for text, path in files for launcher in find_launchers(text, path) for each in launcher.parameters
    }


@cache
def fastest_rungs(module: str, functions: frozenset[str]) -> dict[str, int]:
    """Which rung of each ladder the engine has to take for one of the functions to run: the fastest that needs one."""
    texts, rungs = _with_headers(REPOSITORY / module).values(), {}
    pieces = [piece for text in texts for piece in cuda_text.pieces(text)]
    for name, ladder in engine_seam.ladders().items():
        for rung, (file, launcher) in sorted(ladder.items()):
            if file == under_csrc(module) and any(piece.defines & functions for piece in needed(pieces, {launcher})):
                rungs[name] = rung
    return rungs


@cache
def _taken_out(text: str, name: str) -> Piece:
    """What an exercise on a function takes out of the file. A launcher goes with what stands above it for it alone, in
    an exercise file as far as the comment that asks for it."""
    every, function = cuda_text.pieces(text), cuda_text.find(text, name)
    first = end = every.index(function)
    defines, uses = function.defines, function.uses
    while first and LAUNCHER in function.source and BANNER not in every[first].comment:
        above, others = every[first - 1], (*every[: first - 1], *every[end + 1 :])
        if not above.defines & uses or any(other.uses & above.defines for other in others):
            break
        first, defines, uses = first - 1, defines | above.defines, uses | above.uses
    return replace(function, start=every[first].start, defines=defines, uses=uses)


def _engine_function(exercise: Exercise) -> Piece:
    try:
        return cuda_text.find(engine_text(exercise.module), exercise.function)
    except NotFound as error:
        raise LookupError(f"exercise {exercise.id}: {exercise.module}: {error}") from error


# --- the exercise file


@cache
def _launches(module: str, function: str) -> list[str]:
    """Where the engine launches the kernel: "`vector_add`: add_guarded<<<blocks, threads, 0, stream>>>(a, b, c, n)"."""
    launch = re.compile(rf"\b{function}\s*(?:<[^<>;]*>\s*)?<<<[^;]*(?=;)")
    found = []
    for piece in cuda_text.pieces(engine_text(module)):
        for match in launch.finditer(cuda_text.blanked(piece.source)) if piece.body else ():
            statement = " ".join(piece.source[match.start() : match.end()].split()).replace("( ", "(")
            found.append(f"`{min(piece.defines)}`: {statement}")
    return found


def _introduction(module: str, exercises: Iterable[Exercise]) -> str:
    """What one must know of the engine's file to write its functions: its header comment, and the names it offers.

    What was measured is left out: the lessons ask for a prediction first.
    """
    header = re.match(r"(?://.*\n)*", engine_text(module))[0].rstrip("\n").split("\n//\n")
    untold = "\n//\n".join(paragraph for paragraph in header if not paragraph.startswith("// Measured on"))
    lines = [f"// {'=' * 20} {module} {'=' * 20}", "//", *untold.splitlines()]
    if offered := _offered(module, [exercise for exercise in exercises if exercise.module == module]):
        lines += ["//", "// The engine's file has these, and you may use them:", *offered]
    return "\n".join(lines)


def _offered(module: str, exercises: list[Exercise]) -> list[str]:
    """The engine's own names that the reference functions use, as comment lines: constants and types whole, functions
    by comment and signature."""
    taken_out = [_taken_out(engine_text(module), exercise.function) for exercise in exercises]
    used = frozenset().union(*(piece.uses for piece in taken_out))
    own = frozenset().union(*(piece.defines for piece in taken_out))
    lines: list[str] = []
    for text in _with_headers(REPOSITORY / module).values():
        for piece in cuda_text.pieces(text):
            if not piece.defines & used or piece.defines & own or LAUNCHER in piece.source:
                continue
            if piece.body:
                signature = " ".join(piece.text[piece.start : piece.body - 1].split())
                shown = [*(line.strip() for line in piece.comment.split("\n") if line), f"{signature};"]
            else:
                shown = (piece.source + text[piece.end :].partition("\n")[0]).split("\n")  # with the remark behind it
            lines += [f"//     {line}".rstrip() for line in shown]
    return lines


# --- what a learner has written


def _uncallable(exercise: Exercise, function: Piece) -> FileProblem | None:
    """How the function's kind, its result or its parameters differ from the engine's."""
    place = f"`{exercise.function}` in line {function.first_line} of {exercise.file.name}"
    wanted, wanted_types = cuda_text.signature(_engine_function(exercise))
    found, found_types = cuda_text.signature(function)
    if found != wanted:
        found, wanted = (words.replace("extern", LAUNCHER) for words in (found, wanted))
        problem = f"{place} is declared as `{found or 'nothing'}`; the engine's as `{wanted}`."
        return FileProblem(problem, "Put the words before its name back: the engine launches it as what it was.")
    extra = found_types[len(wanted_types) :]
    if found_types[: len(wanted_types)] != wanted_types or not all(each.endswith("= default") for each in extra):
        step = "Give the function the types of its parameters back: the engine's launcher relies on them."
        return FileProblem(
            f"{place} takes ({', '.join(found_types)}); the engine calls it with ({', '.join(wanted_types)}).",
            f"{step} Their names are yours to choose.",
        )
    return None


def _macro_of_the_engine(exercise: Exercise, own: str) -> FileProblem | None:
    """A macro that would change what the engine's own text says, in silence; a constant would not compile."""
    texts = _with_headers(REPOSITORY / compiled_files(exercise.module)[0]).values()
    names = frozenset().union(*(piece.defines for text in texts for piece in cuda_text.pieces(text)))
    for match in re.finditer(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", own, re.MULTILINE):
        if match[1] in names - {exercise.function}:
            place = f"in line {own.count(chr(10), 0, match.start()) + 1} of {exercise.file.name}"
            what = "has the name of something in the engine's file, which would change with it"
            return FileProblem(f"The macro `{match[1]}` {place} {what}.", "Give the macro another name.")
    return None


def _own(file: ExerciseFile, text: str, functions: list[str]) -> str:
    """What to compile of a learner's file for these functions: they, and what they use of the learner's own.

    Functions of other exercises are left out: the engine's own stand in the engine's file.
    """
    return cuda_text.own(text, functions, {exercise.function for exercise in file.exercises} - set(functions))


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

    The learner's text, without what belongs to other exercises, replaces the last of the functions as a whole: there it
    may use all that the engine's file defines up to that place. The others become declarations.

    The lines of `text` are shown as those of `path`. `start` is the text to start from: None for the engine's own, or
    one that has other functions in it.
    """
    headers, home = dict.fromkeys(each.module for each in exercises if each.module != module), REPOSITORY / module
    engine = _with_headers_inside(start or engine_text(module), home, tuple(headers))

    def engines(start: int, end: int) -> str:
        """That part of the engine's file, which says what its lines are."""
        shown, line = where_line(engine, engine.count("\n", 0, start) + 1, home)
        return (f"\n#line {line} {quoted(shown)}\n" if start else "") + engine[start:end]

    names = [exercise.function for exercise in exercises]
    own, done, before = _own(file, text, names), 0, ""
    pieces = [(_taken_out(engine, name), name) for name in names]
    *declared, (last, _) = sorted(pieces, key=lambda pair: pair[0].start)
    for function, name in declared:
        declaration = cuda_text.find(own, name).head
        before += f"{engines(done, function.start)}{declaration};"
        done = function.end
    own = _with_own_headers(own, path.parent)
    return f"{before}{engines(done, last.start)}\n#line 1 {quoted(path)}\n{own}{engines(last.end, len(engine))}"


@lru_cache(maxsize=64)  # each answer is put into the same texts
def _with_headers_inside(text: str, home: Path, headers: tuple[str, ...]) -> str:
    for header in headers:
        text = _with_header_inside(text, home, (REPOSITORY / header).resolve(), set())
    return text


def _with_header_inside(text: str, home: Path, header: Path, seen: set[Path]) -> str:
    """The text with the header itself instead of its `#include`.

    A header that includes it is put in alike: else it would bring the original. A second `#include` of one of them
    becomes an empty line, as with `#pragma once`.
    """
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        match = INCLUDED.match(line)
        included = (home.parent / match[1]).resolve() if match else None
        if included is None or not included.is_file() or header not in _with_headers(included):
            continue
        if included in seen:
            lines[number - 1] = ""
            continue
        seen.add(included)
        inside = _with_header_inside(ONCE.sub("", included.read_text(encoding="utf-8")), included, header, seen)
        file, after = where_line(text, number, home)
        lines[number - 1] = f"#line 1 {quoted(included)}\n{inside}\n#line {after + 1} {quoted(file)}"
    return "\n".join(lines)


def _with_own_headers(text: str, folder: Path) -> str:
    """A learner's text whose headers are found although it is compiled elsewhere: those in the folder of their file."""

    def named_in_full(match: re.Match[str]) -> str:
        header = folder / match[1]
        return match.group().replace(match[1], str(header)) if header.is_file() else match.group()

    return INCLUDED.sub(named_in_full, text)
