"""The `yaie` command. The same words work in a notebook: `yaie.exercise("1.2").check()`, `yaie.board()`."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime

from rich.console import Console

from yaie import chat
from yaie.options import Parser
from yaie.server import command as serving

COMMANDS = {
    "check": "check an exercise (1.2) or a lesson (1); the exit status is 0 (passed), 1 (failed) or 2 (not attempted)",
    "hint": "show the next hint for an exercise, or the one with that number",
    "reset": "put an exercise (1.2) or the file of a lesson (1) back; a backup is kept",
    "board": "show what you have done and what comes next",
    "watch": "check again whenever you save an exercise file, sooner than `check`: it need not import torch again",
    "update": "bring your exercise files up to date, such as after `git pull`; what you wrote stays",
    "cache": "show where compiled kernels are kept; `cache clear` removes them",
    "doctor": "say what this machine can do and what it lacks",
    "chat": "talk to a model; Ctrl-C stops an answer, /exit leaves",
    "generate": "answer one prompt",
    "serve": "serve a model over HTTP, as OpenAI's interface; needs the extra yaie[serve]",
    "dev": "for maintainers: make the folder of a new exercise, prove an exercise, or show what its check lets pass",
}


def main(arguments: list[str] | None = None) -> int:
    try:
        return _main(arguments)
    except KeyboardInterrupt:  # while torch is imported or a model loaded, too
        return 130
    except BrokenPipeError:  # nobody reads on, such as `head`; Python would say so again when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _main(arguments: list[str] | None) -> int:
    parser = Parser(prog="yaie", description="YAIE: build your own LLM inference engine.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parsers = {name: commands.add_parser(name, help=text, description=text) for name, text in COMMANDS.items()}
    parsers["hint"].add_argument("exercise", metavar="EXERCISE", help="such as 1.2")
    parsers["hint"].add_argument("number", metavar="NUMBER", nargs="?", type=int, help="1 to 3")
    for name in ("check", "reset"):
        parsers[name].add_argument("what", metavar="EXERCISE|LESSON", help="such as 1.2 or 1")
    parsers["board"].add_argument("--unfold", action="store_true", help="every exercise of every lesson")
    parsers["cache"].add_argument("action", nargs="?", choices=("clear",), help="remove them")
    parsers["dev"].add_argument("action", choices=("new", "check", "mutate"))
    parsers["dev"].add_argument("exercise", metavar="EXERCISE", help="such as 12.5")
    parsers["dev"].add_argument("--target", metavar="TARGET", help="of new: csrc/folder/file.cu:name, yaie.module:name")
    parsers["dev"].add_argument("--count", metavar="N", type=int, help="of mutate: so many changes instead of all")
    for name in ("chat", "generate"):
        chat.add_arguments(parsers[name], chat=name == "chat")
    serving.add_arguments(parsers["serve"])
    options = parser.parse_args(arguments)
    _refuse_what_has_no_effect(parsers[options.command], options)
    sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a sign shows a question mark instead

    if options.command == "doctor":  # by itself: it is there for a machine on which the rest cannot be imported
        from yaie.course import doctor

        _show(doctor.examine())
        return 0

    from yaie.course.registry import FolderError, NoSuchExercise

    try:
        if options.command == "serve":
            with _exercises(options.exercises):  # the server's functions run between the engine's steps as well
                return serving.run(options)
        return chat.run(options) if options.command in ("chat", "generate") else _run(options)
    except BrokenPipeError:  # no error to tell anybody
        raise
    except (NoSuchExercise, FolderError, OSError) as error:
        print(f"yaie {options.command}: {error}", file=sys.stderr)
        return 2


def _refuse_what_has_no_effect(parser: Parser, options: argparse.Namespace) -> None:
    if options.command in ("chat", "generate"):
        chat.check_options(parser, options)
    elif options.command == "serve":
        serving.check_options(parser, options)
    elif options.command == "dev":
        for action, name in (("new", "target"), ("mutate", "count")):
            if options.action != action:
                parser.refuse(options, f"has no effect but on `yaie dev {action}`", name)


def _exercises(wanted: bool) -> AbstractContextManager[None]:
    if not wanted:
        return nullcontext()
    from yaie.course import parts

    return parts.installed(parts.passed_parts())


def _run(options: argparse.Namespace) -> int:
    if options.command == "dev":
        return _develop(options.action, options.exercise, options.target, options.count)
    from yaie.course import api, judge

    if options.command in ("check", "watch"):
        judge.warm_up()  # torch is imported there and here at the same time
    if options.command == "check":
        tones = set()
        for panel in api.each_check(options.what):
            _show(panel)
            tones.add(panel.tone)
        return 0 if tones <= {"good"} else 2 if tones <= {"good", "open"} else 1
    if options.command == "hint":
        try:
            _show(api.exercise(options.exercise).hint(options.number))
        except ValueError as error:
            print(f"yaie hint: {error}", file=sys.stderr)
            return 2
    elif options.command in ("reset", "update"):
        panel = api.update() if options.command == "update" else api.reset(options.what)
        _show(panel)
        return 1 if panel.tone == "bad" else 0
    elif options.command == "board":
        _show(api.board(unfold=options.unfold))
    elif options.command == "cache":
        _show(api.cache(clear=options.action == "clear"))
    else:
        _watch()
    return 0


def _develop(action: str, id: str, target: str | None, count: int | None) -> int:
    """Returns the exit status: 1 where a promise is broken, 2 where it was asked wrongly."""
    from yaie.course.registry import NoSuchExercise, find_exercise
    from yaie.course.tools import mutate, scaffold

    try:
        if action == "check":
            return 0 if scaffold.check(find_exercise(id)) else 1
        if action == "mutate":
            tried, left = mutate.survivors(find_exercise(id), count)
            print(*left, f"{tried} changes tried, {len(left)} pass the check", sep="\n\n")
            return 1 if left else 0
        if target is None:
            raise ValueError(f"name the function of the engine: yaie dev new {id} --target csrc/folder/file.cu:name")
        print(f"Made {scaffold.new(id, target)}\nReplace each TODO in it; `yaie dev check {id}` names them.")
        return 0
    except NoSuchExercise:
        raise
    except (ValueError, LookupError, ImportError, OSError) as error:
        print(f"yaie dev {action}: {error}")
        return 2


def _watch() -> None:
    from yaie.course import api, files, progress
    from yaie.course import watch as watching

    console, panels = Console(), watching.watch()
    print(f"Watching {files.exercises_dir()}. Save a file to have it checked; Ctrl-C ends.")
    print(api.next_step(progress.board()[0]), flush=True)
    try:
        for panel in panels:
            if console.is_terminal:
                console.rule(f"{datetime.now():%H:%M:%S}", style="dim")
            _show(panel)
            if panel.tone == "good":
                print(api.next_step(progress.board()[0]), flush=True)
    except KeyboardInterrupt:
        print("No longer watching.")


def _show(view: object) -> None:
    """Framed in a terminal; in a pipe or file plain lines, which are neither cut nor wrapped."""
    console = Console()
    if console.is_terminal:
        console.print(view)
    else:
        print(view, flush=True)


if __name__ == "__main__":
    sys.exit(main())
