"""Accesses just outside a variable, which has no unreadable page behind it as tensors have.

The kind is an array of fixed size whose neighbours the compiler chooses: `__constant__`, `__device__` and
`__managed__` variables, with and without first values, const, of a class, of a template, static ones of a kernel, and
shared arrays. Host variables are host code's own business, and a kernel that names one is refused (test_messages).
"""

import itertools
import re
import shutil

import pytest
import torch

import yaie.cuda

ELEMENTS = {"char": "1", "short": "1", "float": "1.5f", "double": "1.5", "float4": "{1, 2, 3, 4}"}
SIZES = [1, 2, 3, 4, 5, 16, 17]
PAST = [0, 1, 2, 5, 31]  # elements after the last one
# What is declared outside of the kernel, whether a kernel may write to it, and what is declared in it.
KINDS = {
    "constant": ("__constant__ {t} {v}[{n}];", False),
    "constant_set": ("__constant__ {t} {v}[{n}] = {{{first}}};", False),
    "constant_const": ("__constant__ const {t} {v}[{n}] = {{{first}}};", False),
    "device": ("__device__ {t} {v}[{n}];", True),
    "device_set": ("__device__ {t} {v}[{n}] = {{{first}}};", True),
    "device_const": ("__device__ const {t} {v}[{n}] = {{{first}}};", False),
    "static_device": ("static __device__ {t} {v}[{n}];", True),
    "managed": ("__managed__ {t} {v}[{n}];", True),
    "of_class": ("struct Of_{v} {{ static __device__ {t} {v}[{n}]; }}; __device__ {t} Of_{v}::{v}[{n}];", True),
    "inline_of_class": ("struct Of_{v} {{ inline static __device__ {t} {v}[{n}] = {{{first}}}; }};", True),
    "of_template": ("template <class T> __device__ T {v}[{n}];", True),
    "local": ("", True, "static {t} {v}[{n}];"),
    "local_const": ("", False, "static const {t} {v}[{n}] = {{{first}}};"),
    "shared": ("", True, "__shared__ {t} {v}[{n}]; for (auto& e : {v}) e = {t}{{}};"),
}
NAME = re.compile(r"array `(?:Of_v\d+::)?v\d+(?:<[^`]*>)?`")
COMPILERS = [c for c in ("g++", "clang++-16") if shutil.which(c)]


def variables():
    """Name, kind, size and element type of each: all kinds with all sizes, and every type with every kind."""
    for k, kind in enumerate(KINDS):
        for i, n in enumerate(SIZES):
            yield f"v{k * len(SIZES) + i}", kind, n, list(ELEMENTS)[(i + k) % len(ELEMENTS)]


def source():
    """A kernel for each kind, which reads element i of a variable or writes it."""
    outside, inside, cases = [], dict.fromkeys(KINDS, ""), dict.fromkeys(KINDS, "")
    for v, kind, n, element in variables():
        names = {"t": element, "v": v, "n": n, "first": ELEMENTS[element]}
        declared, may_write, *local = KINDS[kind]
        path = f"Of_{v}::{v}" if "of_class" in kind else f"{v}<{element}>" if kind == "of_template" else v
        outside.append(declared.format(**names))
        inside[kind] += "".join(local).format(**names)
        write = f"else {path}[i] = *({element}*)y; " if may_write else ""
        cases[kind] += f"case {v[1:]}: if (reads) *({element}*)y = {path}[i]; {write}break; "
    kernels = [
        f"__global__ void {k}_(void* y, int v, int i, int reads) {{ {inside[k]} switch (v) {{ {cases[k]} }} }}"
        for k in KINDS
    ]
    launches = " else ".join(
        f"if (v < {(k + 1) * len(SIZES)}) {kind}_<<<1, 1>>>(y, v, i, reads);" for k, kind in enumerate(KINDS)
    )
    run = f'extern "C" int run(void* y, int v, int i, int reads) {{ {launches} return cudaGetLastError(); }}'
    return "\n".join([*outside, *kernels, run])


@pytest.mark.parametrize("compiler", COMPILERS)
def test_outside_a_variable(compiler):
    """Would catch what lies behind a variable being taken for a part of it."""
    module, y = yaie.cuda.load(source(), backend="emulator", compiler=compiler), torch.zeros(16, dtype=torch.uint8)
    wrong = []
    for (v, kind, n, element), reads in itertools.product(variables(), (True, False)):
        if not reads and not KINDS[kind][1]:
            continue
        for i in [0, n - 1, -1, *(n + past for past in PAST)]:
            said = ""
            try:
                module.run(y, int(v[1:]), i, int(reads))
            except yaie.cuda.KernelError as error:
                said = " ".join(f"{finding.kind}: {finding.text}" for finding in error.findings)
            side = "past its end" if i > 0 else "before its start"
            expected = "" if 0 <= i < n else f"has {n} elements; element {i} is {side}"
            if bool(said) != bool(expected) or expected not in said or (said and not NAME.search(said)):
                wrong.append((kind, element, n, i, "read" if reads else "write", said))
    assert not wrong, (len(wrong), wrong[:5])


CODE = """
__global__ void far_off(const int* x, int* y, long offset) { y[0] = x[offset]; }
extern "C" int distance(const int* x, int* y, cudaStream_t s) {
    long offset = (reinterpret_cast<char*>(&far_off) - reinterpret_cast<const char*>(x)) / 4;
    far_off<<<1, 1, 0, s>>>(x, y, offset);
    return cudaGetLastError();
}
"""


@pytest.mark.parametrize("compiler", COMPILERS)
def test_an_index_that_leads_into_code(compiler):
    """Would catch numbers read from a module's machine code, where a wild index may lead: they pass for results."""
    module = yaie.cuda.load(CODE, backend="emulator", compiler=compiler)
    with pytest.raises(yaie.cuda.KernelError, match="out-of-bounds read"):
        module.distance(torch.zeros(4, dtype=torch.int32), torch.zeros(1, dtype=torch.int32))
