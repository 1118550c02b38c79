def sums_in_turn():
    return (1, 2, 3, 4)
