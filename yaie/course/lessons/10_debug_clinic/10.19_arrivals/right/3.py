def arrivals():
    return [(0, 8), (1, 17)]
