"""Times the rungs of flash attention beside torch on a GPU: `python tests/csrc/time_flash_attention.py`.

Prints TFLOP/s (4 * q_len * kv_len * head_dim operations for each head, half of that with a causal mask) from the median
of CUDA-event times, and the largest difference from torch. Options: `--rungs 3 4 --length 4096 --head-dim 128`.
"""

import argparse
import statistics

import torch
import torch.nn.functional as F

from yaie.kernels.native.flash_attention import RUNGS, flash_attention


def seconds(run, repeats):
    for _ in range(3):
        run()
    times = []
    for _ in range(repeats):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        stop.record()
        stop.synchronize()
        times.append(start.elapsed_time(stop) / 1000)
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rungs", type=int, nargs="*", default=[max(RUNGS)])
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--kv-heads", type=int, default=32)
    parser.add_argument("--head-dim", type=int, default=128)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    batch, length, head_dim = options.batch, options.length, options.head_dim
    print(torch.cuda.get_device_name(), "torch", torch.__version__, vars(options))
    dtype = getattr(torch, options.dtype)
    q = torch.randn(batch * length, options.heads, head_dim, device="cuda", dtype=dtype)
    k, v = (torch.randn(batch * length, options.kv_heads, head_dim, device="cuda", dtype=dtype) for _ in range(2))
    rectangles = [t.view(batch, length, -1, head_dim).transpose(1, 2) for t in (q, k, v)]
    cu = torch.arange(0, (batch + 1) * length, length, device="cuda", dtype=torch.int32)
    for causal in (False, True):
        operations = 4 * length**2 * head_dim * options.heads * batch / (2 if causal else 1)

        def sdpa(causal=causal):
            return F.scaled_dot_product_attention(*rectangles, is_causal=causal, enable_gqa=True)

        wanted = sdpa().transpose(1, 2).reshape(q.shape)
        runs = {"torch": sdpa}
        for rung in options.rungs:
            runs[f"rung {rung}"] = lambda rung=rung, causal=causal: flash_attention(
                q, k, v, cu, cu, length, length, causal=causal, rung=rung
            )
        for name, run in runs.items():
            off = 0.0 if name == "torch" else (run() - wanted).abs().max().item()
            time = seconds(run, options.repeats)
            speed = operations / time / 1e12
            print(f"causal={causal!s:5} {name:7} {time * 1e3:8.3f} ms {speed:7.1f} TFLOP/s  off by {off:.4f}")


if __name__ == "__main__":
    main()
