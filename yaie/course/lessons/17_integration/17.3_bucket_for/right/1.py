def bucket_for(num_seqs, sizes):
    for size in sizes:
        if size >= num_seqs:
            return size
    return None
