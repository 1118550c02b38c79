def block_table():
    return list(range(7, -1, -1))
