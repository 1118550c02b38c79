"""What options of all commands share: what a number or an address may be, and which options do nothing beside others.

A wrong option ends the command with status 2 and a sentence: which one, what was expected, what came. Needs nothing but
Python's own library.
"""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

LEAST, MOST = 1e-9, 1e9  # of amounts that mean something


class Parser(argparse.ArgumentParser):
    """Knows which options were given: a default asks for nothing."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.register("action", None, _Given)
        self.set_defaults(given=frozenset())

    def refuse(self, options: argparse.Namespace, why: str, *names: str) -> None:
        """End the command if one of these options was given; `why` it cannot be."""
        for name in names:
            if name in options.given or getattr(options, name) is True:
                self.error(f"argument --{name.replace('_', '-')}: {why}")


class _Given(argparse.Action):
    """Stores a value, and that it was given."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, values)
        namespace.given |= {self.dest}


def whole(text: str, least: int = 1, most: int = 10**6) -> int:
    """A number of things."""
    right = text.isdecimal() and len(text) < 20 and least <= int(text) <= most
    return int(text) if right else _wrong(f"a whole number from {least} to {most}", text)


def several(text: str) -> int:
    """A number of things of which one is not enough, such as timings with quartiles."""
    return whole(text, 2)


def amount(text: str, least: float = LEAST, most: float = MOST) -> float:
    """A number that need not be whole, such as a rate."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    return value if least <= value <= most else _wrong(f"a number from {least:g} to {most:g}", text)


def existing_folder(text: str) -> Path:
    """A folder that is there."""
    return Path(text) if Path(text).is_dir() and text else _wrong("a folder", text)


def host(text: str) -> str:
    """A name or an address of a machine."""
    return text if re.fullmatch(r"[\w.:%-]+", text) else _wrong("a name or an address, such as 127.0.0.1", text)


def url(text: str) -> str:
    """Where a server is."""
    try:
        parts = urlsplit(text)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        right &= text.isascii() and text.isprintable() and not re.search(r"[\s?#@]", text)
    except ValueError:  # brackets that do not close, a port beyond 65535
        right = False
    return text if right else _wrong("a URL such as http://127.0.0.1:8000", text)


class Wrong(argparse.ArgumentTypeError, ValueError):
    """What was expected and what came: argparse adds which option it is."""


def _wrong(expected: str, came: str) -> Any:
    raise Wrong(f"expected {expected}, got {came!r:.80}")
