def bucket_for(num_seqs, sizes):
    fitting = [size for size in sizes if not size < num_seqs]
    return min(fitting) if fitting else None
