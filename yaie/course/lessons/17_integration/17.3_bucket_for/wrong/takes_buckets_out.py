# expect: list `sizes` afterwards
def bucket_for(num_seqs, sizes):
    while sizes and sizes[0] < num_seqs:
        sizes.pop(0)
    return sizes[0] if sizes else None
