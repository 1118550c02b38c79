"""Finding functions in CUDA C++ text, with everything in the way that could be taken for one."""

import pytest

from yaie.course.language import cuda_text

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
    function = cuda_text.find(TEXT, name)
    assert function.source.startswith(start)
    assert function.source.endswith("}")
    assert (function.first_line, function.last_line) == lines


@pytest.mark.parametrize(("name", "body"), [("scale", "// note\n}"), ("twice", "// note\n    return {};\n}")])
def test_stub_keeps_the_signature_and_nothing_else(name, body):
    """A stub that lost its template line or its return would not compile."""
    function = cuda_text.find(TEXT, name)
    stub = cuda_text.stub(function, "note")
    assert stub == TEXT[function.start : function.body] + "\n    " + body
    emptied = TEXT[: function.start] + stub + TEXT[function.end :]
    again = cuda_text.find(emptied, name)
    assert again.is_hole
    assert not function.is_hole
    assert emptied[: again.start] + function.source + emptied[again.end :] == TEXT


def test_comments_alone_are_still_a_hole():
    """A learner who has only written down a plan has not attempted the exercise."""
    text = "__global__ void f(int n) {\n  // first the index\n  /* then the guard */\n}\n"
    assert cuda_text.find(text, "f").is_hole


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
    with pytest.raises(cuda_text.NotFound, match=message):
        cuda_text.find(text, "f")


PIECES = """#include <math.h>
#define TWICE(x) helper(x)
// a comment
constexpr int A = 3, B = 2;
struct Pair { int first; int second; };
using T = float;
template <typename Unit> __device__ Unit helper(Unit x) { return x + B; }
__device__ int other() { Pair p; return p.first; }
namespace { int hidden; }
int table[] = {1, 2}, more;
"""


def test_pieces_tell_what_each_defines():
    """Would catch: a list of values or a struct cut in two, or the parameter of a template taken for a definition."""
    found = [(piece.source.split()[0], set(piece.defines)) for piece in cuda_text.pieces(PIECES)]
    assert found == [
        ("constexpr", {"A", "B"}),
        ("struct", {"Pair"}),
        ("using", {"T"}),
        ("template", {"helper"}),
        ("__device__", {"other"}),
        ("namespace", set()),
        ("int", {"table", "more"}),
    ]


def test_needed_follows_names_and_macros():
    """Would catch: a helper left out that only a macro or another helper names, and one taken along for nothing."""
    text = cuda_text.own(PIECES, {"other"})
    words = [piece.source.split()[0] for piece in cuda_text.pieces(text)]
    assert words == ["constexpr", "struct", "template", "__device__", "namespace"]  # helper: TWICE mentions it
    assert text.count("\n") == PIECES.count("\n")
    assert "table" not in text
    assert "using" not in text


LAUNCHERS = """__device__ float shared(float x) { return x; }
template <typename T>
__global__ void left(T x) { shared(x); }
static int launch_left() { left<<<1, 1>>>(1.0f); }
extern "C" int first() { return launch_left(); }
extern "C" int second() { return 2; }
extern "C" int third() { return second(); }
extern "C" int asked() { return third() + shared(1.0f); }
__global__ void unfinished() {}
"""


def test_launchers_that_nobody_asks_for_go_with_what_only_they_need():
    """A check waits for the compiler: kernels that no launcher of its own launches are most of that time. A function
    that nothing names yet is the learner's, whose mistakes are to be told."""
    lines = cuda_text.without_launchers(LAUNCHERS, "// asked").split("\n")
    gone = [number for number, line in enumerate(LAUNCHERS.split("\n")) if line and not lines[number].strip()]
    assert gone == [1, 2, 3, 4]
    assert len(lines) == len(LAUNCHERS.split("\n"))


BELOW = """struct Later;
__device__ int below(int x);
__global__ void kernel(Later* at) { at->x = below(TILE) + THREADS; }
constexpr int TILE = 8;
#define THREADS 64
struct Later { int x; };
constexpr int STEP = 2;
__device__ int below(int x) { return x + STEP; }
#define WARPS 4
"""


def test_a_constant_below_is_not_meant():
    """A constant or macro of 9.5 with the name of one in the engine's file broke the compile of 9.3 above it. What is
    declared above and defined below is needed, and so is what this uses."""
    text = cuda_text.own(BELOW, {"kernel"})
    assert "int TILE" not in text
    assert "WARPS 4" not in text
    assert "THREADS 64" in text  # `below` stands under it
    for kept in ("struct Later { int x; };", "STEP = 2", "return x + STEP"):
        assert kept in text
    assert text.count("\n") == BELOW.count("\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("void f() {\n", "the `{` in line 1, of `f`, is never closed"),
        ("void f() {\n}}", "the `}` in line 2 closes nothing"),
        ("void f() {\n__global__ void g() {}", "of `f`, is not closed before the next function, in line 2"),
        ("namespace n {\n__global__ void g() {}\n", "the `{` in line 1 is never closed"),
    ],
)
def test_brace_without_a_partner_is_named(text, message):
    """A compiler names the end of the file, where nothing is wrong."""
    with pytest.raises(cuda_text.NotFound, match=message):
        cuda_text.pieces(text)
    cuda_text.pieces(TEXT)


@pytest.mark.parametrize(
    ("declared", "signature"),
    [
        ("void f(const float* __restrict__ x, int)", ("void", ["const float*", "int"])),
        ("static __device__ __forceinline__ float f(float const *x)", ("__device__ float", ["const float*"])),
        ("__global__ void __launch_bounds__(256) f(const int n)", ("__global__ void", ["int"])),
        (
            "template <int P> void f(float x[4], unsigned int n = 3)",
            ("template <int P> void", ["float*", "unsigned int = default"]),
        ),
        ("void f(std::array<int, 3> a)", ("void", ["std::array < int , 3 >"])),
        ("int f()", ("int", [])),
    ],
)
def test_signature_is_what_a_caller_must_know(declared, signature):
    """Refusing a renamed parameter would punish a good answer; accepting another type breaks the engine's launcher."""
    text = declared + " {}"
    assert cuda_text.signature(cuda_text.find(text, "f")) == signature
