def arrivals():
    return [(0, 1), (2, 40)]
