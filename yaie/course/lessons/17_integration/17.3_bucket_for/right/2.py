def bucket_for(num_seqs, sizes):
    return next((size for size in sizes if size >= num_seqs), None)
