def block_table():
    return [0, 2, 1]
