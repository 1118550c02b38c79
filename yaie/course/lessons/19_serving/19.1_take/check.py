from __future__ import annotations

from yaie.course.expect import expect, given
from yaie.engine.output import TextStream

# stop strings; of each step the text that its token brings, and what may be shown after it; what the end shows
CASES: tuple[tuple[tuple[str, ...], list[tuple[str, str]], str], ...] = (
    ((), [("Hel", "Hel"), ("lo", "lo")], ""),
    (("END",), [("a", "a"), ("b", "b")], ""),
    (("END",), [("E", ""), ("N", "")], "EN"),
    (("END",), [("E", ""), ("N", ""), ("g", "ENg"), ("", "")], ""),
    (("END",), [("EN", ""), ("EN", "EN"), ("D", "")], ""),
    (("END",), [("the E", "the "), ("ND", "")], ""),
    (("END",), [("E E", "E "), ("x", "Ex"), ("ENx", "ENx")], ""),
    (("aab",), [("a", ""), ("a", ""), ("a", "a"), ("b", "")], ""),
    (("\n\n", "User:"), [("hi\n", "hi"), ("Us", "\n"), ("er", ""), (" ", "User ")], ""),
    (("bc", "abcd"), [("ab", ""), ("x", "abx"), ("b", "")], "b"),
    (("abcd", "bc"), [("xab", "x"), ("", ""), ("c", "a")], ""),
    (("q", "é!"), [("caf", "caf"), ("é", ""), ("é", "é")], "é"),
)


class Pieces:
    """A detokenizer whose tokens are the text that they bring."""

    def add(self, piece: str) -> str:
        return piece

    def finish(self) -> str:
        return ""


def check() -> None:
    for stop, steps, rest in CASES:
        stream, came = TextStream(Pieces(), stop), ""
        shown = ""
        for piece, new in steps:
            came += piece
            ended = stream.push(piece)
            what = f"the stop string is complete, the text is {stream.text!r}" if ended else f"the text is {came!r}"
            with given(f"stop strings {list(stop)}; {shown!r} was taken, {what}: take()"):
                expect(stream.take(), new, "text that is new and certain")
                shown += new
                expect(stream.num_taken, len(shown), "self.num_taken")
        stream.finish()
        with given(
            f"stop strings {list(stop)}; {shown!r} was taken, the text is {stream.text!r}, no token follows: take()"
        ):
            expect(stream.take(), rest, "text that is new and certain")
            expect(stream.num_taken, len(shown + rest), "self.num_taken")
