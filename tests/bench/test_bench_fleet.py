"""The simulated fleet: the schedulers and caches are real, only the clock is not."""

from yaie.bench import fleet

TIMES = fleet.Times(step=0.005, token=0.00002)


def run(policy, **options):
    return fleet.simulate(
        policy,
        TIMES,
        **({"num_replicas": 6, "num_users": 10**6, "rate": 150.0, "num_requests": 300, "num_pages": 1024} | options),
    )


def test_the_router_finds_more_and_the_load_stays_even():
    """Would catch a router that makes nothing better, or buys its hits with one busy replica."""
    told = {policy: run(policy) for policy in fleet.POLICIES}
    assert told["prefix"]["hit_rate"] > told["random"]["hit_rate"] + 0.1
    assert told["prefix"]["balance"] < 2
    assert told["prefix"]["computed_tokens"] < told["random"]["computed_tokens"]
    assert told == {policy: run(policy) for policy in fleet.POLICIES}  # it can be repeated


def test_how_many_are_needed_does_not_depend_on_how_many_requests_are_simulated():
    """Would catch a load that is over before its answers are: in the end each has a step to itself, which is no load
    that goes on, and made a fleet of 10 look like one of 26."""
    few, some, many = (run("prefix", num_requests=number)["needed"] for number in (20, 300, 600))
    assert few is None
    assert 1 < some <= many + 1 <= some + 2


def test_times_follow_the_clock():
    """Would catch a queue that costs nothing, and a first token that comes before its step has ended."""
    idle, busy = run("least-loaded", rate=1.0, num_requests=40), run("least-loaded", rate=10_000.0)
    assert idle["first_p50"] >= TIMES.step
    assert busy["first_p50"] > 3 * idle["first_p50"]


def test_it_reports(capsys):
    """A row for each policy."""
    fleet.main(["--replicas", "2", "--users", "50", "--requests", "20", "--step", "1", "--token", "1", "--rate", "50"])
    out = capsys.readouterr().out
    assert "2 replicas, 50 users, 20 requests" in out
    assert all(f"\n  {policy} " in out for policy in fleet.POLICIES)
    fleet.main(["--replicas", "2", "--users", "50", "--requests", "1", "--step", "1", "--token", "1"])
    assert capsys.readouterr().out.rstrip().endswith(" -")
