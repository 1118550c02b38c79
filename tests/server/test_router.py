"""The router: prompts go where their prefix lies, and not to a replica that has too much to do."""

import numpy as np
import pytest

from yaie.server.router import Choice, Router


def router(num_replicas=3, **options):
    made = Router(**({"page_size": 4, "num_pages": 8, "max_lead": 2} | options))
    for name in "abcdefgh"[:num_replicas]:
        made.add(name)
    return made


def prompt(start, length=9):
    return list(range(start, start + length))


def test_a_prompt_goes_where_its_prefix_lies():
    """Only whole pages count; the longest prefix wins, and choosing changes nothing."""
    made = router()
    made.sent("b", prompt(100, 8))
    made.ended("b")
    made.sent("c", prompt(100, 4))
    made.ended("c")
    for _ in range(3):
        assert made.choose(prompt(100, 11)) == Choice("b", 8)
    assert made.choose(prompt(100, 7)).matched == 4
    assert made.choose(prompt(100, 3)) == Choice("a", 0)
    assert made.choose(np.arange(100, 120)) == Choice("b", 8)


def test_new_prompts_go_round():
    """Would catch a router that sends all that it does not know to the first replica."""
    made, chosen = router(), []
    for number in range(9):
        tokens = prompt(1000 * number)
        chosen.append(made.choose(tokens).replica)
        made.sent(chosen[-1], tokens)
        made.ended(chosen[-1])
    assert sorted(chosen) == list("aaabbbccc")


def test_a_replica_that_leads_too_far_gets_nothing_for_its_prefix():
    """At `max_lead` more than the idlest it is overloaded, at one less it is not."""
    made = router()
    made.sent("a", prompt(0))
    assert made.choose(prompt(0)) == Choice("a", 8)
    made.sent("a", prompt(0))
    assert made.choose(prompt(0)) == Choice("b", 0, overloaded=True)
    made.sent("b", prompt(50))
    made.sent("c", prompt(70))
    assert made.choose(prompt(0)) == Choice("a", 8)  # all have something to do by now
    made.ended("b")
    assert made.choose(prompt(0)).replica == "b"
    made.ended("a")
    assert made.choose(prompt(0)) == Choice("a", 8)


def test_it_forgets_what_a_replica_evicts():
    """Its picture has the size of the pool: else it would send people after pages that are gone."""
    made = router(1)
    for start in (0, 100, 200, 300):  # 2 pages each, of 8
        made.sent("a", prompt(start))
    made.sent("a", prompt(0))  # used again
    made.sent("a", prompt(400))
    assert [made.choose(prompt(start)).matched for start in (0, 100, 200, 300, 400)] == [8, 0, 8, 8, 8]
    made.sent("a", prompt(1000, 400))  # longer than the pool
    assert made.choose(prompt(1000, 400)).matched == 32
    assert made.replicas["a"].num_pages == 8


def test_replicas_come_and_go():
    """One that was started again has nothing; an answer of one that is gone ends in silence."""
    made = router(2)
    made.sent("a", prompt(0))
    made.remove("a")
    made.ended("a")
    assert made.choose(prompt(0)) == Choice("b", 0)
    made.add("a")
    assert made.choose(prompt(0)).matched == 0
    made.remove("a")
    made.remove("b")
    with pytest.raises(LookupError, match="no replica"):
        made.choose(prompt(0))
    with pytest.raises(KeyError):
        made.remove("b")


def test_wrong_numbers():
    """Named; and an end that has no beginning is a fault of the caller."""
    for name in ("page_size", "num_pages", "max_lead"):
        with pytest.raises(ValueError, match=name):
            Router(**{name: 0})
    with pytest.raises(ValueError, match="'a' has no open request"):
        router(1).ended("a")
