"""The comparison of counts with Nsight Compute, without a GPU: its output is read rightly, differences are named."""

import pytest

from yaie.bench import __main__ as command
from yaie.bench import counters

# Written after the documentation and published outputs of `ncu --csv`, with the columns of two of its versions.
LONG = """hello from the program
==PROF== Connected to process 4242 (/usr/bin/python3.12)
==PROF== Profiling "transpose_1_kernel" - 0: 0%....50%....100% - 3 passes
==PROF== Disconnected from process 4242
"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream","Block Size","Grid Size","Device","CC",\
"Section Name","Metric Name","Metric Unit","Metric Value"
"0","4242","python3.12","127.0.0.1","transpose_1_kernel(const float *, float *, int, int)","1","7","(32, 32, 1)",\
"(8, 8, 1)","0","9.0","Command line profiler metrics",\
"l1tex__average_t_sectors_per_request_pipe_lsu_mem_global_op_ld.ratio","sector/request","4"
"0","4242","python3.12","127.0.0.1","transpose_1_kernel(const float *, float *, int, int)","1","7","(32, 32, 1)",\
"(8, 8, 1)","0","9.0","Command line profiler metrics",\
"l1tex__average_t_sectors_per_request_pipe_lsu_mem_global_op_st.ratio","sector/request","32"
"1","4242","python3.12","127.0.0.1","void transpose_tile_kernel<0>(const float *, float *, int, int)","1","7",\
"(32, 32, 1)","(8, 8, 1)","0","9.0","Command line profiler metrics",\
"l1tex__data_bank_conflicts_pipe_lsu_mem_shared_op_ld.sum","","63,488"
"1","4242","python3.12","127.0.0.1","void transpose_tile_kernel<0>(const float *, float *, int, int)","1","7",\
"(32, 32, 1)","(8, 8, 1)","0","9.0","Command line profiler metrics",\
"l1tex__data_bank_conflicts_pipe_lsu_mem_shared_op_st.sum","","n/a"
"""
SHORT = """==PROF== Connected to process 1
"ID","Kernel Name","Metric Name","Metric Unit","Metric Value"
"10","b","m","sector/request","2.5"
"9","a","m","sector/request","1,024.5"
==PROF== Disconnected from process 1
"""


def test_ncu_output_is_read():
    """Would catch thousands separators, kernels in the order of their text, and lines around the table."""
    (first, naive), (second, tiled) = counters.parse_ncu(LONG)
    assert first.startswith("transpose_1_kernel")
    assert second == "void transpose_tile_kernel<0>(const float *, float *, int, int)"
    assert counters.counts_of_metrics(naive) == counters.Counts(4, 32, 0, 0)
    assert counters.counts_of_metrics(tiled) == counters.Counts(None, None, 63488, 0)
    assert counters.parse_ncu(SHORT) == [("a", {"m": 1024.5}), ("b", {"m": 2.5})]
    assert counters.parse_ncu("==ERROR== the profiler cannot read counters: ERR_NVGPUCTRPERM") == []


def test_every_metric_is_asked_for():
    """Would catch a command that profiles all of torch's kernels, or changes the clocks of the card."""
    words = counters.ncu_command("/bin/ncu", counters.LAUNCHES)
    asked = words[words.index("--metrics") + 1].split(",")
    assert asked == [*counters.METRICS.values(), *counters.OF_HOPPER.values()]
    assert ",".join(counters.METRICS.values()) in counters.ncu_command("/bin/ncu", counters.LAUNCHES[:1])
    assert words[words.index("--profile-from-start") + 1] == "off"
    assert words[words.index("--clock-control") + 1] == "none"
    assert words[-2:] == ["counters", "--launch-only"]


def test_missing_launches_are_an_error(monkeypatch):
    """Would catch counts of other kernels put beside ours, and a refusal of ncu that is taken for zeros."""
    monkeypatch.setattr(counters, "build", lambda *arguments: None)
    monkeypatch.setattr(counters, "ncu_command", lambda ncu, launches: ["echo", "==ERROR== ERR_NVGPUCTRPERM"])
    with pytest.raises(RuntimeError, match="ERR_NVGPUCTRPERM"):
        counters.card_counts("ncu", counters.LAUNCHES)


def test_each_launch_gets_its_own_kernel(monkeypatch):
    """Would catch counts that slip to the next launch where a launcher starts a second kernel."""
    rows = [(launch.kernel, i) for i, launch in enumerate(counters.LAUNCHES)]
    rows.insert(3, ("fill_kernel", 99))
    metric = counters.METRICS["load_sectors"]
    text = '"ID","Kernel Name","Metric Name","Metric Unit","Metric Value"\n'
    text += "".join(f'"{i}","{name}_kernel","{metric}","","{n + 1}"\n' for i, (name, n) in enumerate(rows))
    monkeypatch.setattr(counters, "build", lambda *arguments: None)
    monkeypatch.setattr(counters, "ncu_command", lambda ncu, launches: ["printf", "%s", text])
    counted = [counts.load_sectors for counts in counters.card_counts("ncu", counters.LAUNCHES)]
    assert counted == [i + 1 for i in range(len(counters.LAUNCHES))]


def test_the_emulator_counts_what_the_headers_say():
    """Would catch a comparison that is fed with other launches."""
    launches = [launch for launch in counters.LAUNCHES if launch.title.startswith(("transpose", "sum, shared"))]
    counts = {launch.title: counters.emulator_counts(launch) for launch in launches}
    assert counts["transpose, naive"] == counters.Counts(4, 32, 0, 0)
    assert counts["transpose, tiled"] == counters.Counts(4, 4, 31 * 8 * 8 * 32, 0)
    assert counts["transpose, padded"] == counters.Counts(4, 4, 0, 0)
    assert counts["sum, shared memory"].load_conflicts == 0


def test_the_emulator_counts_tma_and_wgmma_as_an_h200_does():
    """Would catch a box that counts for the rows inside the tensor alone, and products that are counted only where the
    first thread that comes to them is the first of its warp: both did. These are Nsight Compute's counts of 2026-11-28.
    """
    of_hopper = [counters.emulator_counts(each) for each in counters.LAUNCHES if each.exact == counters.BY_HARDWARE]
    assert [(each.tile_sectors, each.operand_wavefronts) for each in of_hopper] == [(14336, 3840), (2816, 1920)]
    assert all(each.store_sectors == 16 for each in of_hopper)


def test_differences_are_named():
    """Would catch a comparison that passes whatever the card says."""
    launches = counters.LAUNCHES
    ours = [counters.Counts(4, 4, 0, 0)] * len(launches)
    assert counters.differences(launches, ours, ours) == []
    card = [counters.Counts(4, 8, 0, 0), *ours[1:]]
    assert counters.differences(launches, ours, card) == ["copy, 4-byte units: store sectors: emulator 4, card 8"]
    assert launches[-1].exact == counters.BY_HARDWARE
    assert counters.differences(launches, ours, [*ours[:-1], counters.Counts(4, 8, 0, 0)]) == []
    found = counters.differences(launches, ours, [*ours[:-1], counters.Counts(4, 4, 0, 0, 8)])
    assert found == ["flash, rung 6: tile sectors: emulator 0, card 8"]


def test_the_report_names_differences_or_says_that_there_are_none(capsys):
    """Would catch a comparison whose outcome nobody sees: it runs on machines with a card and ncu only."""
    ours = [counters.Counts(4, 4, 0, 0)] * len(counters.LAUNCHES)
    counters.print_counts(counters.LAUNCHES, ours, ours)
    assert "the emulator counts what the card counts" in capsys.readouterr().out
    counters.print_counts(counters.LAUNCHES, ours, [counters.Counts(4, 8, 0, 0), *ours[1:]])
    shown = capsys.readouterr().out
    assert "copy, 4-byte units: store sectors: emulator 4, card 8" in shown
    assert "the emulator counts what the card counts" not in shown


def test_the_command_says_that_there_is_no_card(capsys):
    """Would catch an emulator's numbers that look like measured ones."""
    assert command.main(["counters", "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert "has not been measured here" in shown
    assert "63488" in shown
