"""Variables that are used unset: g++ 12, g++ 13 and clang++ 16 warn on different lines, and the finding names one.

The messages are those of the three compilers for the text.
"""

from pathlib import Path

import pytest

import yaie.cuda
from tests.cuda.test_wrong import HERE, run
from yaie.cuda.emulated.rewrite import Rewriter
from yaie.cuda.emulated.unset import Unset, unset_variables

TEXT = """\
__device__ int graded(int v) {
  int grade;
  if (v > 3) grade = 1;
  else if (v > 1) grade = 2;
  return grade;
}
__device__ int twice(int v) { return 2 * graded(v); }
__global__ void sums(const int* x, int* y, int n) {
  float sum;
  for (int i = threadIdx.x; i < n; i += 4)
    sum += x[i];
  y[threadIdx.x] = sum;
}
__global__ void grades(const int* x, int* y) {
  y[threadIdx.x] = twice(x[threadIdx.x]);
}
int launch(int* y, int n) {
  int error; if (n > 0) error = 0; return error;
}
"""
GPP_12 = """\
w.cu: In static member function 'static void sums(const int*, int*, int)::emu_body::run(const int*, int*, int)':
w.cu:12:18: warning: 'sum' may be used uninitialized [-Wmaybe-uninitialized]
w.cu:9:9: note: 'sum' was declared here
w.cu:15:24: warning: 'grade' may be used uninitialized [-Wmaybe-uninitialized]
w.cu:2:7: note: 'grade' was declared here
w.cu:18:43: warning: 'error' may be used uninitialized [-Wmaybe-uninitialized]
w.cu:18:7: note: 'error' was declared here
"""
GPP_13 = GPP_12.replace("w.cu:12:18:", "w.cu:11:9:").replace("'", "\u2018").replace("\u2018 ", "\u2019 ")
CLANG_16 = """\
w.cu:4:12: warning: variable 'grade' is used uninitialized whenever 'if' condition is false [-Wsometimes-uninitialized]
w.cu:5:10: note: uninitialized use occurs here
w.cu:4:8: note: remove the 'if' if its condition is always true
w.cu:2:12: note: initialize the variable 'grade' to silence this warning
w.cu:11:5: warning: variable 'sum' is uninitialized when used here [-Wuninitialized]
w.cu:9:12: note: initialize the variable 'sum' to silence this warning
w.cu:18:18: warning: variable 'error' is used uninitialized whenever 'if' condition is false
w.cu:18:43: note: uninitialized use occurs here
w.cu:18:12: note: initialize the variable 'error' to silence this warning
w.cu:20:1: warning: unused variable 'grade' [-Wunused-variable]
"""


@pytest.mark.parametrize("messages", [GPP_12, GPP_13, CLANG_16], ids=["g++-12", "g++-13", "clang++-16"])
def test_compilers_agree_on_the_line_and_the_functions(messages):
    """Would catch a line that depends on the compiler, and a function that is not known to hold the variable."""
    assert unset_variables(messages, Rewriter(TEXT, Path("w.cu"))) == [
        Unset("w.cu", 5, "grade", 2, ("graded", "grades", "twice")),
        Unset("w.cu", 12, "sum", 9, ("sums",)),
        Unset("w.cu", 18, "error", 18, ("launch",)),
    ]


def test_a_warning_that_names_no_declaration_keeps_its_line():
    """Would catch a finding that is lost because the variable is not found in the file's words."""
    messages = "w.cu:12:3: warning: 'p.k()::<unnamed struct>::v' is used uninitialized [-Wuninitialized]\n"
    (found,) = unset_variables(messages, Rewriter(TEXT, Path("w.cu")))
    assert found == Unset("w.cu", 12, "p.k()::<unnamed struct>::v", 0, ("sums",))


def test_a_kernel_that_a_pointer_launches():
    """Would catch a launch whose kernel is not known by name, and whose variables are not looked at."""
    text = (HERE / "wrong" / "unset.cu").read_text().replace("no_start_kernel<<<", "auto p = no_start_kernel;  p<<<")
    module = yaie.cuda.load(text, backend="emulator")
    (finding,) = run(module, "sum_without_a_start(randn(16), zeros(4), 16)")
    assert (finding.kind, finding.line) == ("unset_variable", 8)
