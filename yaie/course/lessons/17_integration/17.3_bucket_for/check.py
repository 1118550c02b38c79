from __future__ import annotations

from yaie.course.expect import expect, given
from yaie.models import cuda_graph


def check() -> None:
    for sizes in ([1], [1, 2, 4, 8], [3], [2, 3, 11], [1, 2, 4, 8, 16, 20]):
        for num_seqs in range(1, sizes[-1] + 3):
            with given(f"bucket_for({num_seqs}, {sizes})"):
                wanted = min((size for size in sizes if size >= num_seqs), default=None)
                own = list(sizes)
                bucket = cuda_graph.bucket_for(num_seqs, own)
                expect(bucket, wanted, "bucket", note=_note(bucket, wanted, num_seqs, sizes))
                expect(own, sizes, "list `sizes` afterwards")


def _note(bucket: object, wanted: int | None, num_seqs: int, sizes: list[int]) -> str:
    if wanted is None:
        return "No bucket holds so many sequences."
    if bucket is None:
        return f"The bucket {wanted} holds them."
    if bucket not in sizes:
        return f"That is none of the buckets {sizes}."
    return "That bucket is too small for the batch." if bucket < num_seqs else "A smaller bucket holds the batch, too."
