"""Numbers with a unit in the text of a notebook: each is one of the record, of a data sheet, or an assumption.

Those of the record are compared with it, so that a new measurement does not leave yesterday's number in the text.
"""

import json
import re

import pytest

from yaie.bench import recorded
from yaie.course import REPOSITORY

UNITS = r"(?:us|ns|TFLOP/s|GFLOP/s|GB/s|TB/s|(?:GB|TB) per second)"
NUMBER = re.compile(rf"\b(\d[\d,.]*)\s?{UNITS}\b")
GIVEN = {  # not measured by us: where it comes from
    ("04_sampling", "10 GB per second"): "an assumption about the reader's machine",
    ("05_tiny_llama", "3.35 TB per second"): "the data sheet of an H100",
    ("12_paged_attention", "3,000 GB per second"): "an assumption, to compute with",
    ("12_paged_attention", "3,000 GB/s"): "the same",
    ("13_flash_tiles", "67 TFLOP/s"): "the data sheet of an H100",
    ("14_flash_tensor_cores", "989 TFLOP/s"): "the same: 16-bit numbers, without sparsity",
    ("18_profiling", "25 GB per second"): "an assumption about the reader's machine",
    ("20_more_than_one", "3.35 TB per second"): "the data sheet of an H100",
    ("20_more_than_one", "900 GB per second"): "the same: NVLink, both directions together",
    ("20_more_than_one", "128 GB per second"): "the same: PCIe, both directions together",
}


def ceiling(name):
    (run,) = [run for run in recorded.load("kernels") if recorded.measured_kernels(run)]
    return next(record["ceilings"][name] for record in run["results"].values() if record["ceilings"])


def flops_per_second(case, call):
    found = [m for run in recorded.load("kernels") for m in recorded.measured_kernels(run)]
    (one,) = [m for m in found if (m.case, m.call) == (case, call)]
    return one.cost.flops / one.seconds


MEASURED = {  # what the record says, in the unit of the text
    ("08_first_kernel", "3,000 GB per second"): lambda: ceiling("copy") / 1e9,
    ("09_memory_operations", "3,000 GB per second"): lambda: ceiling("copy") / 1e9,
    ("11_model_operations", "3,000 GB per second"): lambda: ceiling("copy") / 1e9,
    ("13_flash_tiles", "20 TFLOP/s"): lambda: (
        flops_per_second("prefill, 4 x 4096 tokens, not causal", "flash_attention_3_registers") / 1e12
    ),
    ("16_radix_and_sampling", "22 us"): lambda: 4 * 128 * 131072 / ceiling("read") * 1e6,
    ("18_profiling", "3.0 TB/s"): lambda: ceiling("copy") / 1e12,
    ("18_profiling", "730 TFLOP/s"): lambda: ceiling("compute") / 1e12,
}


def numbers_in_text():
    for path in sorted(REPOSITORY.glob("notebooks/*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                for match in NUMBER.finditer("".join(cell["source"])):
                    yield path.stem, match[0]


def test_each_has_a_source():
    """A number that nobody can trace is believed, quoted, and wrong after the next measurement."""
    assert set(numbers_in_text()) == GIVEN.keys() | MEASURED.keys()


@pytest.mark.parametrize("where", MEASURED, ids=" ".join)
def test_measured_ones_are_those_of_the_record(where):
    """Within a rounding of the last digit that the text shows."""
    shown = NUMBER.fullmatch(where[1])[1].replace(",", "")
    digits = shown.rstrip("0").rstrip(".") if "." not in shown else shown
    step = 10 ** (len(shown) - len(digits)) if "." not in shown else 10 ** -len(shown.partition(".")[2])
    assert abs(float(shown) - MEASURED[where]()) <= step / 2
