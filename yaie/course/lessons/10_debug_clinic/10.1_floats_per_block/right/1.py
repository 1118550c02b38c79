def floats_per_block():
    return 300
