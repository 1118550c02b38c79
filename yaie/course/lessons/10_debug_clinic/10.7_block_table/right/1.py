def block_table():
    return [7, 0]
