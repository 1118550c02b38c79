"""What the emulator does not have, by the header or name that asks for it, and what it has under another name."""

from __future__ import annotations

import re

ON_A_CARD = "Run it on a GPU with load(..., backend='cuda')."
INLINE_PTX = (
    "inline PTX; yaie_ptx.cuh (mma, ldmatrix, cp.async) and yaie_hopper.cuh (mbarriers, TMA, wgmma) have functions, "
    "which are emulated"
)
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
    "asm": INLINE_PTX,
    "__asm__": INLINE_PTX,
    "__cluster_dims__": "thread block clusters",
    "cluster_group": "thread block clusters",
    "this_cluster": "thread block clusters",
    "cudaLaunchKernelEx": "launches with attributes, such as clusters",
    "cudaLaunchCooperativeKernel": "grid-wide synchronisation",
    "this_grid": "grid-wide synchronisation",
    "grid_group": "grid-wide synchronisation",
    "cudaTextureObject_t": "textures",
    "cudaSurfaceObject_t": "surfaces",
    "tex1Dfetch": "textures",
    "tex2D": "textures",
    "cudaGraph_t": "CUDA graphs",
    "cudaGraphExec_t": "CUDA graphs",
    "cudaStreamBeginCapture": "CUDA graphs",
    "cudaMallocManaged": "managed memory",
    "thrust": "Thrust",
    "cub": "CUB",
    "cutlass": "CUTLASS",
    "wmma": "nvcuda::wmma; yaie_ptx.cuh has mma and ldmatrix, which are emulated",
    "tex1D": "textures",
    "tex3D": "textures",
    "cudaArray_t": "textures",
    "cudaMalloc3D": "three-dimensional copies",
    "cudaMemcpy3D": "three-dimensional copies",
    "cudaLaunchCooperativeKernelMultiDevice": "grid-wide synchronisation",
    "multi_grid_group": "grid-wide synchronisation",
    "this_multi_grid": "grid-wide synchronisation",
    "cudaLaunchHostFunc": "functions of the host in streams",
    "cudaStreamAddCallback": "functions of the host in streams",
    "cudaMemPool_t": "memory pools",
    "cudaMemcpyPeer": "more than one device",
    "cudaDeviceEnablePeerAccess": "more than one device",
    "cudaIpcGetMemHandle": "memory shared between processes",
    "curand_init": "cuRAND",
    "curandState": "cuRAND",
    "memcpy_async": "cooperative_groups::memcpy_async; yaie_ptx.cuh has cp_async, which is emulated",
    "__pipeline_memcpy_async": "the pipeline header; yaie_ptx.cuh has cp_async, which is emulated",
}  # fmt: skip


# Names of CUDA, by which what no header of ours declares is known to be one of them. The first group that matches says
# what it is; of older names, what has taken their place.
NAMES_OF_CUDA = {
    r"__(?:shfl|shfl_up|shfl_down|shfl_xor|any|all|ballot)": "{name}(), now {name}_sync(mask, ...)",
    r"cudaThreadSynchronize": "cudaThreadSynchronize(), which cudaDeviceSynchronize() has replaced",
    r"CUtensorMap|cuTensorMapEncodeTiled": "",
    r"(?:cuda|cu)[A-Z]\w*|CU[a-z]\w*|CUDA(?:RT)?_\w+": "{name}",
    r"tex\w+|surf\w+|texture|surface": "{name} (textures and surfaces)",
    r"thrust|cub|cutlass|cute|nvcuda|cg|cooperative_groups": "{name}",
    r"threadIdx|blockIdx|blockDim|gridDim|warpSize": "",
    r"__[a-z]\w*|h2?[a-z]+|(?:ll|ull|u)(?:min|max)|atomic[A-Z]\w*|__nv_\w+|make_\w+": "{name}",
}


# Functions that end the whole program: in the emulator that is Python.
ENDS_PROGRAM = {"exit", "_exit", "_Exit", "quick_exit", "abort"}


def refusal(what: str) -> str:
    return f"the emulator does not have {what}. {ON_A_CARD}"


def undeclared(name: str) -> str | None:
    """Our sentence for a name that no header declares, if it is one of CUDA's."""
    for pattern, what in NAMES_OF_CUDA.items():
        if re.fullmatch(pattern, name):
            if what:
                return refusal(what.format(name=name))
            missing = (
                "is declared in <cuda.h>" if "ensorMap" in name else "exists only in kernels and __device__ functions"
            )
            return f"{name} {missing}"
    return None


def refused_header(name: str) -> str | None:
    """What asks for a header that is not here, if it is one of the toolkit or of its relatives."""
    return next((what for prefix, what in REFUSED_HEADERS.items() if name.startswith(prefix)), None)


UNDECLARED = re.compile(
    "|".join(
        (
            r"'(\w+)' in namespace '[^']*' does not name",
            r"'(\w+)' in 'class",
            r"'(?:\w+::)*(\w+)' (?:was not|has not been) declared",
            r"'(?:\w+::)*(\w+)' (?:does not name a type|is not a member of|undeclared)",
            r"use of undeclared identifier '(\w+)'",
            r"unknown type name '(\w+)'",
            r"no (?:type|member|template) named '(\w+)' in",
        )
    )
)
NO_HEADER = re.compile(r"([\w/.+-]+): No such file or directory|'([\w/.+-]+)' file not found")


def explain_refusal(message: str) -> str | None:
    """Our sentence for a compiler's error that comes from what the emulator does not have; None for any other."""
    if match := NO_HEADER.search(message):
        what = refused_header(match[1] or match[2])
        return refusal(what) if what else None
    match = UNDECLARED.search(message)
    return undeclared(next(filter(None, match.groups()))) if match else None
