"""The CUDA emulator: fast mode and check mode of a few kernels beside torch on the CPU, and the wait after an edit.

Check mode does everything: bounds, races and counters. The wait after an edit is compile, check and profile.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

import yaie.cuda
from yaie.bench import harness
from yaie.cuda.emulated.build import compiler_version
from yaie.options import Parser, several
from yaie.profiling import timing

SOURCE = r"""
#include <yaie_ptx.cuh>
#include <cfloat>

__global__ void add_kernel(const float* a, const float* b, float* c, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) c[i] = a[i] + b[i];
}
extern "C" int vector_add(const float* a, const float* b, float* c, int n) {
  add_kernel<<<(n + 255) / 256, 256>>>(a, b, c, n);
  return cudaGetLastError();
}

constexpr int TILE = 16;
__global__ void matmul_kernel(const float* a, const float* b, float* c, int n) {
  __shared__ float as[TILE][TILE], bs[TILE][TILE];
  int row = blockIdx.y * TILE + threadIdx.y, column = blockIdx.x * TILE + threadIdx.x;
  float sum = 0.0f;
  for (int k = 0; k < n; k += TILE) {
    as[threadIdx.y][threadIdx.x] = a[row * n + k + threadIdx.x];
    bs[threadIdx.y][threadIdx.x] = b[(k + threadIdx.y) * n + column];
    __syncthreads();
    for (int i = 0; i < TILE; ++i) sum += as[threadIdx.y][i] * bs[i][threadIdx.x];
    __syncthreads();
  }
  c[row * n + column] = sum;
}
extern "C" int matmul(const float* a, const float* b, float* c, int n) {
  matmul_kernel<<<dim3(n / TILE, n / TILE), dim3(TILE, TILE)>>>(a, b, c, n);
  return cudaGetLastError();
}

// One block per head and sequence; each of four warps walks its share of the tokens with an online softmax.
constexpr int D = 64, WARPS = 4;
__global__ void decode_kernel(const float* q, const float* keys, const float* values, const int* block_table,
                              const int* context_lens, float* out, int heads, int block_size, int max_blocks) {
  __shared__ float part[WARPS][D], part_max[WARPS], part_sum[WARPS];
  int head = blockIdx.x, seq = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  float2 query = reinterpret_cast<const float2*>(q + (seq * heads + head) * D)[lane], acc = make_float2(0.0f, 0.0f);
  float most = -FLT_MAX, sum = 0.0f;
  for (int t = warp; t < context_lens[seq]; t += WARPS) {
    long slot = (long)block_table[seq * max_blocks + t / block_size] * block_size + t % block_size;
    long base = (slot * heads + head) * D;
    float2 key = reinterpret_cast<const float2*>(keys + base)[lane];
    float score = (query.x * key.x + query.y * key.y) * 0.125f;
    for (int m = 16; m; m /= 2) score += __shfl_xor_sync(0xffffffffu, score, m);
    float now = fmaxf(most, score), shrink = __expf(most - now), p = __expf(score - now);
    float2 value = reinterpret_cast<const float2*>(values + base)[lane];
    acc.x = acc.x * shrink + p * value.x;
    acc.y = acc.y * shrink + p * value.y;
    sum = sum * shrink + p;
    most = now;
  }
  part[warp][2 * lane] = acc.x;
  part[warp][2 * lane + 1] = acc.y;
  if (lane == 0) part_max[warp] = most, part_sum[warp] = sum;
  __syncthreads();
  if (threadIdx.x < D) {
    float all = -FLT_MAX, total = 0.0f, result = 0.0f;
    for (int w = 0; w < WARPS; ++w) all = fmaxf(all, part_max[w]);
    for (int w = 0; w < WARPS; ++w) {
      float weight = __expf(part_max[w] - all);
      total += part_sum[w] * weight;
      result += part[w][threadIdx.x] * weight;
    }
    out[(seq * heads + head) * D + threadIdx.x] = result / total;
  }
}
extern "C" int paged_decode(const float* q, const float* keys, const float* values, const int* block_table,
                            const int* context_lens, float* out, int seqs, int heads, int block_size, int max_blocks) {
  decode_kernel<<<dim3(heads, seqs), WARPS * 32>>>(q, keys, values, block_table, context_lens, out, heads, block_size,
                                                   max_blocks);
  return cudaGetLastError();
}

// 64x32 tile per block, four warps, fragments straight from shared memory.
__global__ void gemm_kernel(const __nv_bfloat16* a, const __nv_bfloat16* b, float* c, int n) {
  __shared__ __align__(16) __nv_bfloat16 as[64][40], bs[32][40];
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, m0 = blockIdx.y * 64, n0 = blockIdx.x * 32;
  float acc[4][4] = {};
  for (int k = 0; k < n; k += 32) {
    for (int i = threadIdx.x; i < 256; i += 128) {
      yaie::cp_async_16(&as[i / 4][i % 4 * 8], &a[(m0 + i / 4) * n + k + i % 4 * 8]);
    }
    int r = threadIdx.x / 4, q = threadIdx.x % 4 * 8;
    yaie::cp_async_16(&bs[r][q], &b[(k + r) * n + n0 + q]);
    yaie::cp_async_commit();
    yaie::cp_async_wait<0>();
    __syncthreads();
    for (int kk = 0; kk < 32; kk += 16) {
      uint32_t fa[4], fb[2];
      yaie::ldmatrix_x4(fa, &as[warp * 16 + lane % 16][kk + lane / 16 * 8]);
      for (int j = 0; j < 4; ++j) {
        yaie::ldmatrix_x2_trans(fb, &bs[kk + lane % 16][j * 8]);
        yaie::mma_m16n8k16_bf16(acc[j], fa, fb, acc[j]);
      }
    }
    __syncthreads();
  }
  for (int j = 0; j < 4; ++j) {
    int row = m0 + warp * 16 + lane / 4, column = n0 + j * 8 + lane % 4 * 2;
    *reinterpret_cast<float2*>(&c[row * n + column]) = make_float2(acc[j][0], acc[j][1]);
    *reinterpret_cast<float2*>(&c[(row + 8) * n + column]) = make_float2(acc[j][2], acc[j][3]);
  }
}
extern "C" int gemm_bf16(const __nv_bfloat16* a, const __nv_bfloat16* b, float* c, int n) {
  gemm_kernel<<<dim3(n / 32, n / 64), 128>>>(a, b, c, n);
  return cudaGetLastError();
}
"""


@dataclass(frozen=True)
class Work:
    """A call of a launcher, the tensor it fills, and torch's way to the same numbers."""

    title: str
    launcher: str
    arguments: tuple
    output: torch.Tensor
    reference: Callable[[], torch.Tensor]


def make_work() -> list[Work]:
    torch.manual_seed(0)
    n, size = 1 << 20, 256
    a, b, c = torch.randn(n), torch.randn(n), torch.zeros(n)
    ma, mb, mc = torch.randn(size, size), torch.randn(size, size), torch.zeros(size, size)
    ha, hb, hc = ma.bfloat16(), mb.bfloat16(), torch.zeros(size, size)
    seqs, heads, length, block_size = 4, 8, 512, 16
    per_seq = length // block_size
    q, out = torch.randn(seqs, heads, 64), torch.zeros(seqs, heads, 64)
    keys, values = (torch.randn(seqs * per_seq, block_size, heads, 64) for _ in range(2))
    table = torch.randperm(seqs * per_seq, dtype=torch.int32).view(seqs, per_seq)
    lens = torch.full((seqs,), length, dtype=torch.int32)

    def paged() -> torch.Tensor:
        k, v = (x[table.long()].view(seqs, length, heads, 64).transpose(1, 2) for x in (keys, values))
        return torch.nn.functional.scaled_dot_product_attention(q[:, :, None], k, v)[:, :, 0]

    sizes = (seqs, heads, block_size, per_seq)
    return [
        Work("vector add, 1M", "vector_add", (a, b, c, n), c, lambda: a + b),
        Work("matmul 256^3 fp32", "matmul", (ma, mb, mc, size), mc, lambda: ma @ mb),
        Work("paged decode 4x8x512x64", "paged_decode", (q, keys, values, table, lens, out, *sizes), out, paged),
        Work("bf16 mma GEMM 256^3", "gemm_bf16", (ha, hb, hc, size), hc, lambda: ha.float() @ hb.float()),
    ]


def edit_to_profile(work: Work) -> None:
    """What one waits for after an edit: compile in check mode, run with all checks, count."""
    module = yaie.cuda.load(f"{SOURCE}\n// edited at {time.time_ns()}\n", backend="emulator")
    getattr(module, work.launcher)(*work.arguments)
    str(module.profile())


def cpu_time() -> float:
    """CPU seconds of this process and of the compilers that it waited for."""
    return sum(os.times()[:4])


def main(arguments: list[str]) -> None:
    """Run the benchmark; see `--help`."""
    parser = Parser(prog="python -m yaie.bench emulator", description=__doc__)
    parser.add_argument("--repeats", type=several, default=5, help="timed runs of each (default: %(default)s)")
    parser.add_argument("--compiler", help="C++ compiler (default: g++, else clang++)")
    parser.add_argument("--save", action="store_true", help="record the result under yaie/bench/results/")
    options = parser.parse_args(arguments)
    facts = harness.environment("emulator", arguments, clock="CPU time of the process, except where it says wall")
    facts["compiler"] = compiler_version(yaie.cuda.find_compiler(options.compiler))
    facts["load"] = f"{os.getloadavg()[0]:.1f} running on {os.cpu_count()} cores"  # wall times suffer from it
    harness.print_header(facts)

    fast, check = (
        yaie.cuda.load(SOURCE, backend="emulator", check=c, compiler=options.compiler) for c in (False, True)
    )
    rows, results = [], {}
    for work in make_work():
        times = {}
        for mode, module in (("fast", fast), ("check", check)):
            run = functools.partial(getattr(module, work.launcher), *work.arguments)
            times[mode] = timing.measure(run, repeats=options.repeats, clock=time.process_time)
            torch.testing.assert_close(work.output, work.reference(), rtol=1e-3, atol=1e-3)
        times["torch"] = timing.measure(work.reference, repeats=options.repeats, clock=time.process_time)
        ratio = times["check"].median / times["fast"].median
        rows.append((work.title, times["torch"], times["fast"], times["check"], f"{ratio:.1f}x"))
        results[work.title] = times
    harness.print_table("One call", ["", "torch", "emulator, fast", "emulator, check", "check / fast"], rows)

    decode = make_work()[2]
    edit = {
        name: timing.measure(functools.partial(edit_to_profile, decode), repeats=options.repeats, clock=clock)
        for name, clock in (("wall", time.perf_counter), ("CPU time", cpu_time))
    }
    small = torch.zeros(1)
    overhead = timing.measure(lambda: fast.vector_add(small, small, small.clone(), 1), items=1, repeats=50)
    print(f"edit, compile, check and profile paged decode: {edit['wall']} wall, {edit['CPU time']} CPU time")
    print(f"launch overhead: {overhead} wall")
    results |= {f"edit to profile, {name}": timing for name, timing in edit.items()}
    results["launch overhead, wall"] = overhead
    if options.save:
        print("recorded in", harness.save_results("emulator", facts, results))
