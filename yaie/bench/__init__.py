"""Benchmarks: `python -m yaie.bench` lists them. `benchmark_kernel` and `profile_kernel` look at one function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from yaie.profiling.timing import Timing, measure

__all__ = ["benchmark_kernel", "profile_kernel"]


def benchmark_kernel(kernel_func: Callable, *args: Any, **kwargs: Any) -> tuple[Timing, Any]:
    """Time `kernel_func(*args, **kwargs)`: median and quartiles after a warm-up, and the result of the last call.

    On a GPU the card's own events are read, and its clocks are warmed up; elsewhere it is wall time. The same inputs
    are used again and again, so what fits into a cache is found there: `yaie.bench.kernels` shows how to avoid that.
    """
    import torch

    from yaie.bench import card

    result = None

    def run() -> None:
        nonlocal result
        result = kernel_func(*args, **kwargs)

    if torch.cuda.is_available() and any(_on_card(value) for value in (*args, *kwargs.values())):
        return card.measure_calls([run]), result
    return measure(run, repeats=10, warmup=3), result


def profile_kernel(kernel_func: Callable, *args: Any, **kwargs: Any) -> Any:
    """Call `kernel_func(*args, **kwargs)`, print what the profiler saw, and return the call's result.

    For a launcher that runs in the emulator this is how each source line touched memory; for anything else the
    operations of torch and, on a GPU, the kernels, those that took longest first.
    """
    module = getattr(kernel_func, "module", None)
    if module is not None and module.backend == "emulator":
        print(module.profile(kernel_func.__name__, *args, **kwargs))
        return None
    from torch.profiler import ProfilerActivity, profile, supported_activities

    with profile(activities=[ProfilerActivity.CPU, *(supported_activities() - {ProfilerActivity.CPU})]) as seen:
        result = kernel_func(*args, **kwargs)
    table = seen.key_averages()
    device = "self_cuda_time_total" if ProfilerActivity.CUDA in supported_activities() else "self_cpu_time_total"
    print(table.table(sort_by=device, row_limit=10))
    return result


def _on_card(value: Any) -> bool:
    return getattr(getattr(value, "device", None), "type", None) == "cuda"
