# expect: That is none of the buckets
def bucket_for(num_seqs, sizes):
    bucket = 1
    while bucket < num_seqs:
        bucket *= 2
    return min(bucket, sizes[-1]) if num_seqs <= sizes[-1] else None
