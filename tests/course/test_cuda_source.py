"""Finding functions in CUDA C++ text, with everything in the way that could be taken for one."""

import pytest

from yaie.course import cuda_source

TEXT = """#include <cuda_runtime.h>
#define CALL(f) do { f(1); } while (0)  // scale( in a macro {

// scale( { in a comment
/* __global__ void scale(int) { } */
static const char* text = "scale(int) {";
__device__ float twice(float x);

template <typename T>
__global__ void scale(const T* x, T* y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;  // }
    if (i < n) { y[i] = twice(x[i]); }
    const char brace = '{';
}

__device__ float twice(float x) { return 2 * x; }

extern "C" int run_scale(const float* x, float* y, int n) {
    scale<float><<<(n + 255) / 256, 256>>>(x, y, n);
    return 0;
}
"""


@pytest.mark.parametrize(
    ("name", "start", "lines"),
    [
        ("scale", "template <typename T>", (9, 14)),
        ("twice", "__device__", (16, 16)),
        ("run_scale", 'extern "C"', (18, 21)),
    ],
)
def test_finds_the_definition(name, start, lines):
    """A comment, a string, a macro, a declaration or a call taken for the definition would cut the wrong text."""
    function = cuda_source.find(TEXT, name)
    assert cuda_source.source(TEXT, function).startswith(start)
    assert cuda_source.source(TEXT, function).endswith("}")
    assert (function.first_line, function.last_line) == lines


@pytest.mark.parametrize(("name", "body"), [("scale", "// note\n}"), ("twice", "// note\n    return {};\n}")])
def test_stub_keeps_the_signature_and_nothing_else(name, body):
    """A stub that lost its template line or its return would not compile."""
    function = cuda_source.find(TEXT, name)
    stub = cuda_source.stub(TEXT, function, "note")
    assert stub == TEXT[function.start : function.body] + "\n    " + body
    emptied = cuda_source.replace(TEXT, function, stub)
    again = cuda_source.find(emptied, name)
    assert cuda_source.is_hole(emptied, again)
    assert not cuda_source.is_hole(TEXT, function)
    assert cuda_source.replace(emptied, again, cuda_source.source(TEXT, function)) == TEXT


def test_comments_alone_are_still_a_hole():
    """A learner who has only written down a plan has not attempted the exercise."""
    text = "__global__ void f(int n) {\n  // first the index\n  /* then the guard */\n}\n"
    assert cuda_source.is_hole(text, cuda_source.find(text, "f"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("void g() {}", "no definition of `f`"),
        ("void f() { if (1) { }", "line 1.*never closed"),
        ("int x = f(3);", "no definition"),
    ],
)
def test_what_cannot_be_found_is_said(text, message):
    """A learner who deleted a brace needs the line."""
    with pytest.raises(cuda_source.NotFound, match=message):
        cuda_source.find(text, "f")
