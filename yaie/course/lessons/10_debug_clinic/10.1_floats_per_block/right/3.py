def floats_per_block():
    threads = 256
    return threads + 8
