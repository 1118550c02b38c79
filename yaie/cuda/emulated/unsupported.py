"""What the emulator does not have, by the header or name that asks for it, and what it has under another name."""

from __future__ import annotations

ON_A_CARD = "Run it on a GPU with load(..., backend='cuda')."
REFUSED_HEADERS = {
    "cub/": "CUB",
    "thrust/": "Thrust",
    "cutlass/": "CUTLASS",
    "cute/": "CuTe",
    "cuda/": "libcu++ (<cuda/...>)",
    "mma.h": "nvcuda::wmma; yaie_ptx.cuh has mma and ldmatrix, which are emulated",
    "curand": "cuRAND",
    "cublas": "cuBLAS",
    "cudnn": "cuDNN",
    "cuda_fp8.h": "8-bit floats",
    "cuda_fp4.h": "4-bit floats",
    "cuda_pipeline": "the pipeline header; yaie_ptx.cuh has cp_async, which is emulated",
    "torch/": "PyTorch's C++ headers (a launcher takes plain pointers)",
    "ATen/": "PyTorch's C++ headers (a launcher takes plain pointers)",
    "pybind11/": "pybind11 (a launcher is an extern \"C\" function)",
}  # fmt: skip
REFUSED_NAMES = {
    "asm": "inline PTX; yaie_ptx.cuh has mma, ldmatrix and cp.async as functions, which are emulated",
    "__asm__": "inline PTX; yaie_ptx.cuh has mma, ldmatrix and cp.async as functions, which are emulated",
    "__cluster_dims__": "thread block clusters",
    "cluster_group": "thread block clusters",
    "this_cluster": "thread block clusters",
    "cudaLaunchKernelEx": "launches with attributes, such as clusters",
    "cudaLaunchCooperativeKernel": "grid-wide synchronisation",
    "this_grid": "grid-wide synchronisation",
    "grid_group": "grid-wide synchronisation",
    "CUtensorMap": "TMA (the tensor memory accelerator)",
    "cudaTextureObject_t": "textures",
    "cudaSurfaceObject_t": "surfaces",
    "tex1Dfetch": "textures",
    "tex2D": "textures",
    "cudaGraph_t": "CUDA graphs",
    "cudaGraphExec_t": "CUDA graphs",
    "cudaStreamBeginCapture": "CUDA graphs",
    "cudaMallocManaged": "managed memory",
    "cudaHostAlloc": "pinned host memory",
    "cudaMallocHost": "pinned host memory",
}  # fmt: skip


# Functions that end the whole program: in the emulator that is Python.
ENDS_PROGRAM = {"exit", "_exit", "_Exit", "quick_exit", "abort"}


def refusal(what: str) -> str:
    return f"the emulator does not have {what}. {ON_A_CARD}"


def refused_header(name: str) -> str | None:
    """What asks for a header that is not here, if it is one of the toolkit or of its relatives."""
    return next((what for prefix, what in REFUSED_HEADERS.items() if name.startswith(prefix)), None)
