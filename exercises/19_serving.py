# Exercises of lesson 19: Serving: from a generator to a server.
#
# Each function is the engine's, with its body taken out or a mistake put in. Write or fix it, save, check:
# `yaie.exercise("19.1").check()` in the notebook, or `yaie check 19.1` in a terminal.
# Functions that you have not written yet are filled in with the engine's own, so any order works.
# generated, text hash e92b0d10d71fc9c3

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from yaie.engine import output
from yaie.engine.output import StreamChunk
from yaie.profiling.latency import Waited, seconds_of
from yaie.server import engine_thread
from yaie.server.engine_thread import Busy


class TextStream(output.TextStream):
    """The engine's `TextStream`. The methods below replace its own; all others are inherited."""

    # ---------- Exercise 19.1: Text that is certain (about 20 minutes) ----------
    def take(self) -> str:
        r"""Return the text that is new since the last call and certain: no later token can take it back. Note in
        `self.num_taken` how many characters have been taken in all.

        `self.text` is the answer so far. It never ends in half a character and never holds a whole stop
        string: others see to that. But it may end in the *beginning* of a stop string, and the next token may
        complete it. Then these characters are not part of the answer. So they are held back until it is known
        what they are. Hold back as few as possible: a client is waiting for them.

        `self.stop` holds the stop strings; there may be none. When no token follows, `self.detokenizer` is
        None, and nothing is held back any more.

        The stop strings are `"END"` and `"\n\n"`; each row is a call:

        | `self.text` | taken before | result | because |
        |---|---|---|---|
        | `"the EN"` | `""` | `"the "` | `"EN"` may become `"END"` |
        | `"the ENg"` | `"the "` | `"ENg"` | it has not |
        | `"the ENg\n"` | `"the ENg"` | `""` | `"\n"` may become `"\n\n"` |
        | `"the ENg\nE"` | `"the ENg"` | `"\n"` | now `"E"` may become `"END"` |
        | the same, at the end | `"the ENg\n"` | `"E"` | no token follows |
        """
        raise NotImplementedError("exercise 19.1: write this function")


class EngineThread(engine_thread.EngineThread):
    """The engine's `EngineThread`. The methods below replace its own; all others are inherited."""

    # ---------- Exercise 19.2: Abort without a leak (about 15 minutes) ----------
    def _abort(self, request_ids: Sequence[str], **told: Any) -> list[StreamChunk]:
        """End the answers with these ids now, and return the last chunk of each, in order.

        Clients leave at any moment, so an answer may be over before this function hears of it. Then
        `self.llm.abort(request_id)` raises a KeyError: there is nothing to end, nothing to hand out, and
        nothing wrong. The others must be ended all the same. An answer that goes on for nobody holds its
        pages until its last token. Any other error goes to whoever called.

        Ask for no more than the ids. Whether somebody still waits for an answer is the business of the loop,
        which delivers the chunks; this function runs in the engine's thread, between two steps.

        `told` says what the outputs are to say instead of what the engine says. It is used when a step has
        failed; when a client has left, it is empty.

        A and C run, B has just ended:

        | call | chunks | their outputs say |
        |---|---|---|
        | `_abort(["A"])` | one of A | `"abort"` |
        | `_abort(["A", "B", "C"])` | one of A, one of C | `"abort"` |
        | `_abort(["B"])` | none | |
        | `_abort(["C"], finish_reason="error", error="no memory")` | one of C | `"error"`, `"no memory"` |

        You may use `self.llm.abort(request_id)`, which gives the pages back and returns a `RequestOutput`;
        `StreamChunk(request_id, text, token_ids, output)`: what is new of an answer, and with its last chunk
        the whole of it; `replace(output, **changes)`, a copy with other values; and `suppress(KeyError)`.
        """
        raise NotImplementedError("exercise 19.2: write this function")

    # ---------- Exercise 19.3: Admit all of an order, or none of it (about 15 minutes) ----------
    def _admit(self, number: int, chunks: asyncio.Queue[StreamChunk]) -> list[str]:
        """An order asks for `number` answers. Give each an id, and note in `self._open` under each id the queue
        that its chunks go to. It is `chunks` for all of them. Return the ids.

        At most `self.limit` answers may be open at a time. The order is admitted as a whole or not at all: a
        refused one leaves no trace.

        - There is no room now, but there will be: raise `Busy`. The client is told to come back (429).
        - There never is room, also if nothing else is open: raise a ValueError. To come back would not help,
          and the client is told so (400).

        An id is a string that this server has not used before. An answer that has left `self._open` may still
        be in the engine for a step.

        The limit is 4; each row is the next call:

        | order | open before | result | open afterwards |
        |---|---|---|---|
        | 3 answers | 0 | 3 ids | 3 |
        | 2 answers | 3 | `Busy` | 3 |
        | 5 answers | 3 | ValueError | 3 |
        | 1 answer | 3 | 1 id | 4 |

        You may use `self.num_open`; and `next(self._numbers)`, which counts on with every call.
        """
        raise NotImplementedError("exercise 19.3: write this function")


# ---------- Exercise 19.4: Goodput under two limits (about 15 minutes) ----------
def goodput(load: Sequence[Waited], first: float, between: float) -> float:
    """How many requests per second kept both limits? `load` has all requests of a load. Of each there are

    - `first`: seconds from the moment at which it was due to its first token,
    - `token_times`: when its tokens came; `between`: the gaps between them, an array,
    - `error`: what went wrong, or None. A request that failed is not good, however quick its tokens were,
      and it may have none.

    A request is good if it was served, its first token took at most `first` seconds, and its *mean* gap is
    at most `between` seconds. An answer of one token has no gap. Divide by the time of the whole load: from
    the moment at which the first request was due to the last token of all that were served, the slow ones
    too. Where none was served, the goodput is 0.0.

    Limits of 0.5 s and 0.1 s. All were due at 0:

    | tokens came at | good | because |
    |---|---|---|
    | 0.5, 0.54, 0.68 | yes | gaps of 0.04 and 0.14: 0.09 on average |
    | 0.6, 0.65 | no | the first token is late |
    | 0.3, 0.5 | no | the mean gap is 0.2 |
    | 0.4 | yes | no gap |
    | 0.1, then an error | no | it failed |

    Two of these five are good, and the last token came after 0.68 seconds. So the goodput is 2 / 0.68 =
    2.94 requests per second.

    You may use `seconds_of(load)`, the time of the whole load; at least one request must have been served.
    """
    raise NotImplementedError("exercise 19.4: write this function")
