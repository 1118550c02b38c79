def sums_in_turn():
    return [256] * 3
