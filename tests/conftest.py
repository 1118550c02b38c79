"""For all tests: what torch draws is the same in each run, so that a test which failed can be run again."""

import pytest
import torch


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
