from __future__ import annotations

from yaie.course.expect import expect, given
from yaie.models import cuda_graph


def check() -> None:
    for sizes in ([1], [1, 2, 4, 8], [1, 2, 4, 8, 16, 20]):
        for num_seqs in range(1, sizes[-1] + 3):
            with given(f"bucket_for({num_seqs}, {sizes})"):
                fitting = [size for size in sizes if size >= num_seqs]
                expect(cuda_graph.bucket_for(num_seqs, sizes), min(fitting, default=None), "bucket")
