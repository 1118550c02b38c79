def arrivals():
    return [(0, 3), (1, 40), (2, 8)]
