"""The `yaie` command. The same words work in a notebook: `yaie.exercise("1.2").check()`, `yaie.board()`."""

from __future__ import annotations

import argparse
import sys

from rich.console import Console


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="yaie", description="YAIE: build your own LLM inference engine.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, help_text, operand in (
        ("check", "check an exercise", "exercise, such as 1.2"),
        ("hint", "show the next hint for an exercise", "exercise, such as 1.2"),
        (
            "reset",
            "put an exercise or a lesson's file back; a backup is kept",
            "exercise (1.2) or lesson (1)",
        ),
        ("board", "show what you have done and what comes next", None),
        ("watch", "check again whenever you save an exercise file", None),
        ("doctor", "say what this machine can do and what it lacks", None),
    ):
        command = commands.add_parser(name, help=help_text, description=help_text)
        if operand:
            command.add_argument("what", metavar="EXERCISE", help=operand)
    options = parser.parse_args(arguments)
    try:
        return _run(options, Console())
    except KeyboardInterrupt:
        return 130


def _run(options: argparse.Namespace, console: Console) -> int:
    from yaie.course import handle, learner
    from yaie.course import watch as watching

    try:
        if options.command == "check":
            panel = handle.exercise(options.what).check()
            console.print(panel)
            return {"good": 0, "open": 2}.get(panel.tone, 1)
        if options.command == "hint":
            console.print(handle.exercise(options.what).hint())
        elif options.command == "reset":
            console.print(handle.reset(options.what))
        elif options.command == "board":
            console.print(handle.board())
        elif options.command == "doctor":
            console.print(handle.examine())
        elif options.command == "watch":
            console.print(f"Watching {learner.exercises_dir()}. Save a file to have it checked; Ctrl-C ends.")
            watching.watch(lambda found: console.print(_shown(found)))
    except KeyError as error:
        print(f"yaie {options.command}: {error.args[0]}", file=sys.stderr)
        return 2
    except learner.FileProblem as problem:
        console.print(handle.problem_panel(problem))
        return 1
    return 0


def _shown(found: object) -> object:
    from yaie.course import handle, learner

    return (
        handle.problem_panel(found) if isinstance(found, learner.FileProblem) else handle.outcome_panel(found)
    )


if __name__ == "__main__":
    sys.exit(main())
