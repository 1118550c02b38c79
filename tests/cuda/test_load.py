"""load(): the way from a .cu file to a Python function, its argument checks and its errors."""

import os
import platform
import re
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

import yaie.cuda
from yaie.cuda import cache
from yaie.cuda.emulated import build as builder
from yaie.cuda.source import read_source

HERE = Path(__file__).parent

VECTOR_ADD = r"""
__global__ void add(const float* a, const float* b, float* c, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) c[i] = a[i] + b[i];
}
extern "C" int vector_add(const float* a, const float* b, float* c, int n, cudaStream_t stream) {
  add<<<(n + 255) / 256, 256, 0, stream>>>(a, b, c, n);
  return cudaGetLastError();
}
"""


@pytest.fixture(scope="module")
def module():
    return yaie.cuda.load(VECTOR_ADD, backend="emulator")


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("n", [1, 31, 32, 33, 1000, 4099])
def test_vector_add(check, n):
    """Would catch a guard, copy-in or copy-back that is wrong at odd sizes, in either mode."""
    module = yaie.cuda.load(VECTOR_ADD, backend="emulator", check=check)
    a, b, c = torch.randn(n), torch.randn(n), torch.zeros(n)
    module.vector_add(a, b, c, n)
    torch.testing.assert_close(c, a + b, rtol=0, atol=0)


def test_wrong_dtype_names_the_argument(module):
    """Would catch half bits read as float, silently."""
    a = torch.zeros(4)
    with pytest.raises(TypeError, match=r"vector_add: `b` is const float\*.*torch.float32, got torch.float16"):
        module.vector_add(a, a.half(), a.clone(), 4)


def test_wrong_arguments_are_named(module):
    """Would catch strides, numbers and counts that reach the kernel as garbage."""
    a = torch.zeros(4)
    with pytest.raises(ValueError, match="`a` must be contiguous, has shape"):
        module.vector_add(torch.zeros(4, 2)[:, 0], a, a.clone(), 4)
    with pytest.raises(TypeError, match="`c` must be a tensor"):
        module.vector_add(a, a, [0.0] * 4, 4)
    with pytest.raises(TypeError, match="`n` must be an integer"):
        module.vector_add(a, a, a.clone(), 4.0)
    with pytest.raises(ValueError, match="`n` = 4294967296 does not fit int"):
        module.vector_add(a, a, a.clone(), 1 << 32)
    with pytest.raises(TypeError, match="missing a required argument: 'n'"):
        module.vector_add(a, a, a.clone())
    with pytest.raises(ValueError, match="`a` must be on cpu, is on meta"):
        module.vector_add(torch.zeros(4, device="meta"), a, a.clone(), 4)


def test_aliases_stay_aliases(module):
    """Would catch a copy per argument, which loses what the kernel writes through one of two views."""
    storage = torch.arange(8.0)
    module.vector_add(storage[:4], storage[4:], storage[4:], 4)
    assert storage.tolist() == [0, 1, 2, 3, 4, 6, 8, 10]


def test_compile_error_shows_the_learners_line():
    """Would catch messages about our headers or about a rewritten file that the learner never saw."""
    source = VECTOR_ADD.replace("a[i] + b[i]", "a[i] + missing[i]")
    with pytest.raises(yaie.cuda.CompileError) as caught:
        yaie.cuda.load(source, backend="emulator")
    assert caught.value.line == 4
    assert "missing" in str(caught.value)
    assert "if (i < n) c[i] = a[i] + missing[i];" in str(caught.value)
    assert "emu" not in str(caught.value)


def test_wrong_launch_arguments_show_the_launch():
    """Would catch a type error in <<< >>>(...) that is reported inside the launch template."""
    source = VECTOR_ADD.replace("(a, b, c, n);\n  return", "(a, b, n);\n  return")
    with pytest.raises(yaie.cuda.CompileError) as caught:
        yaie.cuda.load(source, backend="emulator")
    assert caught.value.line == 7


REFUSED = {
    "inline PTX": '__device__ void f() { asm volatile("nop;"); }',
    "CUB": "#include <cub/cub.cuh>\n",
    "CUTLASS": "#include <cutlass/cutlass.h>\n",
    "wmma": "#include <mma.h>\n",
    "textures": "__global__ void f(cudaTextureObject_t t) {}",
    "thread block clusters": "__global__ void __cluster_dims__(2, 1, 1) f() {}",
    "grid-wide": "__device__ void f() { cooperative_groups::this_grid().sync(); }",
    "cuTensorMapEncodeIm2col": "void f() { cuTensorMapEncodeIm2col(); }",
    "CUDA graphs": "void f() { cudaGraph_t graph; }",
}


@pytest.mark.parametrize("what", REFUSED)
def test_refusal_names_the_construct_and_where_to_run_it(what):
    """Would catch a pile of compiler errors where one sentence is due."""
    with pytest.raises(yaie.cuda.UnsupportedError) as caught:
        yaie.cuda.load(REFUSED[what] + "\n" + VECTOR_ADD, backend="emulator")
    assert what in str(caught.value)
    assert "backend='cuda'" in str(caught.value)
    assert caught.value.line == 1


def test_code_for_the_card_only_is_not_refused():
    """Would catch a refusal of what the preprocessor takes out anyway."""
    guarded = '#ifdef __CUDA_ARCH__\n__device__ void f() { asm("nop;"); }\n#endif\n'
    assert yaie.cuda.load(guarded + VECTOR_ADD, backend="emulator")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("__global__ void k() {}\n", "defines no launcher"),
        ('extern "C" int f(long double* s) { return 0; }\n', "parameter `s` has type long double"),
        ('extern "C" float f(int n) { return 0; }\n', "returns float; a launcher returns int"),
        ('extern "C" int f(float** x) { return 0; }\n', "cannot read the parameter"),
    ],
)
def test_unusable_launchers(source, message):
    """Would catch a launcher that is silently left out."""
    with pytest.raises(yaie.cuda.CompileError, match=re.escape(message)):
        yaie.cuda.load(source, backend="emulator")


def test_printf_is_shown(capsys):
    """Would catch device output that goes to C's stdout, which a notebook does not see."""
    source = '__global__ void hello() { printf("thread %d\\n", threadIdx.x); }\n'
    module = yaie.cuda.load(source + 'extern "C" int run() { hello<<<1, 3>>>(); return 0; }\n', backend="emulator")
    module.run()
    assert capsys.readouterr().out == "thread 0\nthread 1\nthread 2\n"


def test_returned_error_raises():
    """Would catch a launcher's error code that nobody looks at."""
    module = yaie.cuda.load('extern "C" int run(int n) {\n return n < 0 ? 1 : 0; }', backend="emulator")
    module.run(1)
    with pytest.raises(yaie.cuda.KernelError, match=r"run .* returned"):
        module.run(-1)


def test_unknown_backend_and_missing_file():
    """Would catch a default that hides a typing error."""
    with pytest.raises(ValueError, match=r"backend must be one of auto, cuda, emulator"):
        yaie.cuda.load(VECTOR_ADD, backend="gpu")
    with pytest.raises(FileNotFoundError, match="no such CUDA file"):
        yaie.cuda.load("nowhere.cu")


def test_large_launches_are_sampled():
    """Would catch a budget that is not obeyed, and a sample in which neighbouring blocks are never compared."""
    module = yaie.cuda.load(VECTOR_ADD, backend="emulator", event_budget=20_000)
    n = 256 * 400
    a, b, c = torch.randn(n), torch.randn(n), torch.zeros(n)
    module.vector_add(a, b, c, n)
    assert torch.equal(c, a + b)
    assert module.last_report["blocks"] == 400
    assert 4 <= module.last_report["deep_blocks"] <= 40


FAST_FAULTS = """
__global__ void wild(float* y) { y[5000] = 1.0f; }
extern "C" int wild_write(float* y) { wild<<<1, 1>>>(y); return 0; }
__global__ void divide(int* y, int n) { y[0] = 70 / n; }
extern "C" int divide_by(int* y, int n) { divide<<<1, 1>>>(y, n); return 0; }
__global__ void constant(const float* x) { const_cast<float*>(x)[0] = 1.0f; }
extern "C" int write_const(const float* x) { constant<<<1, 1>>>(x); return 0; }
__global__ void forever(volatile int* y) { for (;;) y[0] = 1; }
extern "C" int endless(int* y) { forever<<<1, 1>>>(y); return 0; }
"""


def test_fast_mode_survives_faults():
    """Would catch a learner's mistake that ends the Python process where nothing is instrumented."""
    module = yaie.cuda.load(FAST_FAULTS, backend="emulator", check=False, time_limit=0.5)
    calls = {
        "out_of_bounds": lambda: module.wild_write(torch.zeros(4)),
        "division_by_zero": lambda: module.divide_by(torch.zeros(4, dtype=torch.int32), 0),
        "const_write": lambda: module.write_const(torch.zeros(4)),
        "endless_loop": lambda: module.endless(torch.zeros(4, dtype=torch.int32)),
    }
    if platform.machine() != "x86_64":
        del calls["division_by_zero"]  # the machine gives 0 and no signal
    for kind, call in calls.items():
        with pytest.raises(yaie.cuda.KernelError) as caught:
            call()
        assert [f.kind for f in caught.value.findings] == [kind]
        assert caught.value.findings[0].line


@pytest.mark.parametrize("check", [True, False])
def test_interrupt_stops_a_kernel_at_once(check):
    """Would catch a Ctrl-C that waits for the time limit."""
    module = yaie.cuda.load(FAST_FAULTS, backend="emulator", check=check, time_limit=600)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    start = time.monotonic()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        module.endless(torch.zeros(1, dtype=torch.int32))
    assert time.monotonic() - start < 60
    timer.join()


def test_builds_are_cached_and_keyed_by_headers(tmp_path, monkeypatch):
    """Would catch a stale build after a change in an included header, and a rebuild when nothing changed."""
    (tmp_path / "scale.cuh").write_text("__device__ float scale(float x) { return 2 * x; }\n")
    (tmp_path / "run.cu").write_text(
        '#include "scale.cuh"\n__global__ void k(float* y) { y[0] = scale(y[0]); }\n'
        'extern "C" int run(float* y) { k<<<1, 1>>>(y); return 0; }\n'
    )
    y = torch.ones(1)
    yaie.cuda.load(tmp_path / "run.cu", backend="emulator").run(y)
    monkeypatch.setattr(builder, "run", lambda *a: pytest.fail("compiled again"))
    yaie.cuda.load(tmp_path / "run.cu", backend="emulator").run(y)
    monkeypatch.undo()
    (tmp_path / "scale.cuh").write_text("__device__ float scale(float x) { return 10 * x; }\n")
    yaie.cuda.load(tmp_path / "run.cu", backend="emulator").run(y)
    assert y.item() == 40


def test_builds_are_not_shared_between_two_clones(monkeypatch):
    """Would catch findings in a second clone that name the headers of the first, and so are taken for the user's."""
    here = builder.headers_digest.__wrapped__()
    monkeypatch.setattr(builder, "HERE", builder.HERE.parent)
    assert builder.headers_digest.__wrapped__() != here


def test_an_interrupted_build_leaves_nothing(tmp_path):
    """Would catch a half-written library, or a lock that a later build waits for."""
    target = tmp_path / "kernel.so"

    def killed(directory):
        (directory / "kernel.so").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.into_cache(target, killed)
    assert list(tmp_path.iterdir()) == []

    def made(directory):
        (directory / "kernel.so").write_text("whole")
        return directory / "kernel.so"

    assert cache.into_cache(target, made).read_bytes().startswith(b"whole")


def test_a_precompiled_header_that_does_not_fit_is_left_alone(tmp_path, monkeypatch):
    """Would catch a machine on which nothing compiles any more, because g++ cannot use the header's file there."""
    if builder.is_clang(builder.find_compiler()):
        pytest.skip("only g++ looks for it by itself")
    (tmp_path / "yaie_emulator.h.gch").write_text("of another version")
    monkeypatch.setattr(builder, "precompiled_header", lambda *arguments: ["-I", str(tmp_path)])
    assert yaie.cuda.load(f"{VECTOR_ADD}// {time.time_ns()}", backend="emulator").launchers

    runs, real_run = [], builder.run

    def run(command, directory):
        runs.append(command)
        result = real_run(command, directory)
        if str(tmp_path) in command:
            result.returncode, result.stderr = 1, "cc1plus: fatal error: had to relocate PCH"
        return result

    monkeypatch.setattr(builder, "run", run)
    assert yaie.cuda.load(f"{VECTOR_ADD}// {time.time_ns()}", backend="emulator").launchers
    assert [str(tmp_path) in command for command in runs] == [True, False, False, False]  # compiled and linked


@pytest.mark.parametrize("check", [False, True], ids=["fast", "check"])
def test_the_precompiled_header_is_used(check, monkeypatch):
    """Would catch flags with which g++ silently reads our header anew: each check of an exercise then takes longer."""
    if builder.is_clang(builder.find_compiler()):
        pytest.skip("only g++ looks for it by itself")
    real_run, read = builder.run, []

    def run(command, directory):
        result = real_run([*command, "-H"], directory)  # names what it reads; "!" is a precompiled header that fits
        read.extend(line for line in result.stderr.splitlines() if line.startswith("!"))
        return result

    for flags in ((), ("-DYAIE_DTYPES=1",)):
        text = f"{VECTOR_ADD}// {time.time_ns()}"
        yaie.cuda.load(text, backend="emulator", check=check, flags=flags)  # makes the header, if it must
        monkeypatch.setattr(builder, "run", run)
        read.clear()
        yaie.cuda.load(f"{text} again", backend="emulator", check=check, flags=flags)
        monkeypatch.undo()
        assert len(read) == 1, flags
        assert read[0].endswith("yaie_emulator.h.gch")


def test_all_halves_and_bfloat16s():
    """Would catch a wrong conversion of any 16-bit number, and rounding that is not to nearest even."""
    source = """
#include <cuda_fp16.h>
#include <cuda_bf16.h>
template <class T> __global__ void widen_kernel(const T* x, float* y) {
  int i = blockIdx.x * 256 + threadIdx.x;
  y[i] = float(x[i]);
}
template <class T> __global__ void narrow_kernel(const float* x, T* y, int n) {
  int i = blockIdx.x * 256 + threadIdx.x;
  if (i < n) y[i] = T(x[i]);
}
extern "C" int widen_half(const half* x, float* y) { widen_kernel<<<256, 256>>>(x, y); return 0; }
extern "C" int widen_bf16(const __nv_bfloat16* x, float* y) { widen_kernel<<<256, 256>>>(x, y); return 0; }
extern "C" int narrow_half(const float* x, half* y, int n) {
  narrow_kernel<<<(n + 255) / 256, 256>>>(x, y, n);
  return 0;
}
extern "C" int narrow_bf16(const float* x, __nv_bfloat16* y, int n) {
  narrow_kernel<<<(n + 255) / 256, 256>>>(x, y, n);
  return 0;
}
"""
    module = yaie.cuda.load(source, backend="emulator", check=False)
    every = torch.arange(1 << 16, dtype=torch.int32).to(torch.uint16)
    for dtype, widen, narrow in (
        (torch.float16, module.widen_half, module.narrow_half),
        (torch.bfloat16, module.widen_bf16, module.narrow_bf16),
    ):
        x, y = every.view(dtype), torch.zeros(1 << 16)
        widen(x, y)
        torch.testing.assert_close(y, x.float(), rtol=0, atol=0, equal_nan=True)
        between = torch.cat([y[:-1].double().add(y[1:].double()).div(2).float(), torch.randn(20000) * 1e-5])
        between = between[between.isfinite()]
        z = torch.zeros(len(between), dtype=dtype)
        narrow(between, z, len(between))
        torch.testing.assert_close(z, between.to(dtype), rtol=0, atol=0)


@pytest.mark.skipif(yaie.cuda.find_nvcc() is None, reason="nvcc is not installed")
@pytest.mark.parametrize(
    ("file", "arch"),
    [
        (file, arch)
        for file in sorted((HERE / "right").glob("*.cu"))
        for arch in (["sm_90a"] if file.stem == "hopper" else ["sm_80", "sm_120"])
    ],
    ids=lambda x: x if isinstance(x, str) else x.stem,
)
def test_right_kernels_compile_for_cards(file, arch):
    """Would catch a kernel that only our headers accept, and PTX bodies that ptxas refuses."""
    cubin = yaie.cuda.compile_cubin(file, arch)
    assert cubin.path.stat().st_size > 0
    assert len(cubin.kernels) >= 5
    assert all(0 < k.registers <= 255 and k.spill_stores == 0 for k in cubin.kernels)


@pytest.mark.skipif(yaie.cuda.find_nvcc() is None, reason="nvcc is not installed")
def test_nvcc_errors_show_the_learners_line():
    """Would catch an error in a temporary file's name."""
    with pytest.raises(yaie.cuda.CompileError, match="missing") as caught:
        yaie.cuda.compile_cubin(VECTOR_ADD.replace("b[i]", "missing[i]"))
    assert caught.value.line == 4


def test_old_builds_are_dropped_while_others_do_the_same(tmp_path, monkeypatch):
    """A build that another process removes between listing and looking stopped the one that was just made."""
    monkeypatch.setenv("YAIE_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("YAIE_CACHE_BYTES", "25")
    (tmp_path / "mine.txt").write_text("not ours, so left alone")
    for age, name in enumerate(("new.so", "newer.cubin", "old.so", "older.cubin")):
        (tmp_path / name).write_text("ten bytes.")
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    (tmp_path / "gone.so").symlink_to(tmp_path / "nowhere")  # listed, and cannot be looked at
    cache.prune()
    left = sorted(path.name for path in tmp_path.iterdir() if not path.is_symlink())
    assert left == ["mine.txt", "new.so", "newer.cubin"]


def test_what_was_just_used_is_not_dropped(tmp_path, monkeypatch):
    """Would catch a small limit that takes a build away between its making and its loading."""
    monkeypatch.setenv("YAIE_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("YAIE_CACHE_BYTES", "0")
    module = yaie.cuda.load(VECTOR_ADD + "// new", backend="emulator")
    assert module.launchers
    assert list(tmp_path.glob("source-*.so"))
    monkeypatch.setenv("YAIE_CACHE_BYTES", "1 GB")
    with pytest.raises(ValueError, match="YAIE_CACHE_BYTES must be a number of bytes"):
        cache.prune()


def test_the_cache_can_be_seen_and_cleared(tmp_path, monkeypatch):
    """Would catch a clearing that takes what is not ours, or leaves some kind of build."""
    monkeypatch.setenv("YAIE_CACHE_DIR", str(tmp_path / "new" / "account"))  # a nested folder that is not there yet
    assert cache.folder() == tmp_path / "new" / "account"
    assert cache.usage() == (0, 0)
    for name in ("a.so", "b.cubin", "headers-x/h.gch", "extensions/key/lock", "building-y/kernel.cpp", "mine.txt"):
        file = cache.folder() / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("12345")
    assert cache.usage() == (5, 25)
    assert cache.clear() == 25
    assert cache.usage() == (0, 0)
    assert (cache.folder() / "mine.txt").exists()


def test_builds_of_other_processes_come_and_go(tmp_path, monkeypatch):
    """Would catch a look at the cache that fails because a build beside it has just ended: with it would end a check,
    or a step of an engine. Brothers: an entry, a file in it, the folder of extensions, and the cache as a whole.
    """
    monkeypatch.setenv("YAIE_CACHE_DIR", str(tmp_path / "cache"))
    busy, ended = cache.folder(), threading.Event()

    def others():
        while not ended.is_set():
            for name in ("building-x", "extensions/key", "headers-y"):
                (busy / name / "deeper").mkdir(parents=True, exist_ok=True)
                (busy / name / "deeper" / "kernel.ii").write_text("1")
            for name in ("building-x", "extensions", "headers-y"):
                shutil.rmtree(busy / name, ignore_errors=True)

    def make(directory):
        (directory / "made").write_text("1")
        return directory / "made"

    thread = threading.Thread(target=others)
    thread.start()
    try:
        for number in range(300):
            cache.usage()
            assert cache.into_cache(busy / f"{number}.so", make).exists()
    finally:
        ended.set()
        thread.join()
    shutil.rmtree(busy)
    assert cache.into_cache(busy / "again.so", make).exists()


def damaged(content: bytes) -> list[bytes]:
    """Cut short, of no bytes, with other bytes, of another kind."""
    return [b"", content[:-1], content[:5], content[:1] + b"?" + content[2:], content + b"?", b"#!/bin/sh\n"]


def test_a_damaged_build_is_made_anew(tmp_path, monkeypatch):
    """Would catch a file of the cache that ends the process, or an error that blames the source. The brothers: the
    runtime's library, a kernel's, the precompiled header. A stand-in for the compiler, for the runtime takes long."""
    compiler = tmp_path / "g++"
    compiler.write_text(
        "#!/bin/sh\nwhile [ $# -gt 0 ]; do case $1 in\n"
        "  --version) echo a stand-in;;\n  -o) echo built > $2;;\nesac; shift; done\n"
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("YAIE_CACHE_DIR", str(tmp_path / "cache"))
    source = read_source('extern "C" int f() { return 0; }')
    builds = [
        lambda: builder.build_runtime(str(compiler)),
        lambda: builder.build_for_emulator(source, str(compiler), True).path,
        lambda: Path(builder.precompiled_header.__wrapped__(str(compiler), ())[-1]) / "yaie_emulator.h.gch",
    ]
    for build in builds:
        path = build()
        whole = path.read_bytes()
        assert whole.startswith(b"built\n")
        for content in damaged(whole):
            path.write_bytes(content)
            assert build() == path
            assert path.read_bytes() == whole


def test_a_folder_that_cannot_be_used(tmp_path, monkeypatch, capsys):
    """Would catch a traceback where there is no home, the disk is read-only, or a file is in the way."""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    monkeypatch.setenv("YAIE_CACHE_DIR", str(tmp_path / "file" / "below"))
    assert cache.folder() == cache.folder() == tmp_path / "temporary" / f"yaie-{os.getuid()}"
    said = capsys.readouterr().err
    assert said.count("\n") == 1  # once, not at each build, and not in each process
    cache._usable.cache_clear()
    cache.folder()
    assert capsys.readouterr().err == ""
    assert f"{tmp_path / 'file' / 'below'} cannot be used (Not a directory)" in said

    monkeypatch.delenv("YAIE_CACHE_DIR")
    monkeypatch.setattr(cache.platformdirs, "user_cache_dir", lambda name: "~/.cache/yaie")  # without HOME and account
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path / "other"))
    assert cache.folder() == tmp_path / "other" / f"yaie-{os.getuid()}"
    assert "there is no home directory" in capsys.readouterr().err

    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path / "file"))
    with pytest.raises(OSError, match=r"no folder to build in.*set YAIE_CACHE_DIR"):
        cache.folder()
    cache._usable.cache_clear()


def test_a_temporary_folder_of_others_is_not_used(tmp_path):
    """Would catch code of another user that is run because it lies where ours would."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert cache._problem_with(tmp_path / "open", private=True) == "it belongs to others too"


def test_an_older_compiler_says_what_it_cannot_check(tmp_path):
    """Would catch a check that is left out without a word: g++ before 12 has no -ftrivial-auto-var-init."""
    older = tmp_path / "g++"
    older.write_text(
        '#!/bin/sh\nfor a; do case $a in -ftrivial*) echo "error: unrecognized option" >&2; exit 1;; esac; done\n'
        f'exec {builder.find_compiler()} "$@"\n'
    )
    older.chmod(0o755)
    text = (
        "__global__ void k(float* y, int n) { float sum; for (int i = 0; i < n; ++i) sum += y[i]; y[0] = sum; }\n"
        'extern "C" int run(float* y, int n) { k<<<1, 1>>>(y, n); return 0; }'
    )
    module = yaie.cuda.load(text, backend="emulator", compiler=str(older))
    module.run(torch.zeros(1), 1)
    (remark,) = module.remarks
    assert remark == "whether `sum` is used before it is set was not tried, for want of g++ 12 or clang++ 16"


def test_a_compiler_that_checks_the_sizes_of_copies(tmp_path):
    """Would catch Ubuntu's g++, where _FORTIFY_SOURCE is on by default: it makes another function of memcpy, and a
    launcher that copies device memory was not found."""
    fortified = tmp_path / "g++"
    fortified.write_text(f'#!/bin/sh\nexec {builder.find_compiler()} -D_FORTIFY_SOURCE=2 "$@"\n')
    fortified.chmod(0o755)
    text = (
        "#include <cstring>\n"
        'extern "C" int run(const float* x, int n) { float first[64]; memcpy(first, x, n * 4); return first[0] > 9; }'
    )
    module = yaie.cuda.load(text, backend="emulator", compiler=str(fortified))
    with pytest.raises(yaie.cuda.KernelError, match="reads `x`, which is device memory"):
        module.run(torch.zeros(64), 64)


def test_a_launcher_may_throw_what_it_catches():
    """Would catch Python ended by a C++ exception, and exceptions of host code refused, which nvcc takes."""
    text = (
        '#include <stdexcept>\nextern "C" int run(int n) {\n'
        '  if (n == 1) throw 1;\n  if (n == 2) throw std::runtime_error("bad n");\n'
        "  try { throw n; } catch (int) { return 0; }\n}"
    )
    module = yaie.cuda.load(text, backend="emulator")
    module.run(0)
    for n, words in {1: "it is no std::exception", 2: "bad n"}.items():
        with pytest.raises(yaie.cuda.KernelError, match=f"nobody catches what the launcher throws: {words}") as caught:
            module.run(n)
        assert [(f.kind, f.line) for f in caught.value.findings] == [("exit", 2)]
