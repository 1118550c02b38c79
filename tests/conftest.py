"""For all tests: each run draws other numbers, so that more cases are seen, and any run can be had again.

A run with a failure says which seed it had; `YAIE_TEST_SEED=... python -m pytest ...` draws the same.
"""

import os
import secrets
import signal

import pytest

SEED = int(os.environ.setdefault("YAIE_TEST_SEED", str(secrets.randbelow(2**31))))  # also for xdist's workers

# `nohup make test &` starts us with SIGINT ignored, and tests of Ctrl-C then wait for ever. Children inherit it, too.
signal.signal(signal.SIGINT, signal.default_int_handler)


# What waits, or takes a minute in one piece.
LONG = ("notebooks/test_jupyterlab.py", "server/test_fleet.py", "course/test_served.py", "notebooks/test_solutions.py")


def pytest_collection_modifyitems(items):
    """Long ones first: at the end processes share what is left, and one that waits for a long test has no share."""
    items.sort(key=lambda item: not str(item.path).endswith(LONG))


@pytest.fixture(autouse=True)
def seeded():
    import torch  # xdist's workers would wait until the process that hands out tests has it, too

    torch.manual_seed(SEED)


def pytest_terminal_summary(terminalreporter):
    if terminalreporter.stats.keys() & {"failed", "error"}:
        terminalreporter.write_line(f"Numbers were drawn with YAIE_TEST_SEED={SEED}.")
