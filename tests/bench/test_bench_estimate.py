"""The constants of estimates follow from the record, and their errors are those of kernels that were not fitted."""

import json

import pytest

from yaie.bench import estimate as benchmark
from yaie.bench import harness
from yaie.cuda import estimate


@pytest.fixture(scope="module")
def record():
    return json.loads((harness.RESULTS / benchmark.RECORD).read_text())


@pytest.fixture(scope="module")
def counted():
    return benchmark.recorded_counts()


def test_fitted_and_tested_are_told_apart_by_name(counted, record):
    """Would catch a kernel that changes sides because it is estimated badly."""
    ours = {row["name"] for family in record["results"].values() for case in family["cases"] for row in case["calls"]}
    names = sorted(name for name in ours if name.isidentifier() and name in launchers(record))
    assert names[::2] == list(benchmark.FITTED)
    assert {one.call for one in counted} <= set(names)


def launchers(record):
    cases = [case for family in record["results"].values() for case in family["cases"]]
    return {row["name"] for case in cases for row in case["calls"] if row["ours"]}


def test_the_card_file_follows_from_counts_and_record(counted, record, monkeypatch):
    """Would catch constants that were changed by hand, and errors that were not renewed with them."""
    kept = json.loads((estimate.FOLDER / f"{benchmark.CARD}.json").read_text())
    monkeypatch.setattr(benchmark, "fit", lambda counted, known, begin: {n: constants[n] for n in begin})
    constants = estimate.constants(kept)
    found = benchmark.facts_of_card(counted, record)
    for name, each in kept["errors"].items():
        assert found["errors"][name]["kernels"] == each["kernels"]
        assert found["errors"][name]["mean"] == pytest.approx(each["mean"], abs=2e-3)  # constants are kept rounded
    assert {name: found[name] for name in ("card", "recorded", "fitted_to", "tried")} == {
        name: kept[name] for name in ("card", "recorded", "fitted_to", "tried")
    }
    assert not {one.call for one in counted if not one.is_fitted} & set(kept["fitted_to"])


def test_a_fit_finds_what_made_the_times(counted):
    """Would catch a search that stops where it began."""
    known = {name: value for name, (value, _) in benchmark.SOURCED.items()} | {"memory_rate": 3e12}
    made_by = {**benchmark.BEGIN, "l2_rate": 2e12, "launch_seconds": 4e-6}
    usable = [one for one in counted if not one.why_not][::4]
    made = [one._replace(seconds=estimate.seconds_of(one.works, known | made_by)) for one in usable]
    found = known | benchmark.fit(made, known, benchmark.BEGIN)
    assert max(abs(benchmark.error_of(one, found)) for one in made) < 0.05
    assert max(abs(benchmark.error_of(one, known | benchmark.BEGIN)) for one in made) > 0.2
