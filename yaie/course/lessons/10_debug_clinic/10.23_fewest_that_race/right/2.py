def fewest_that_race():
    pair = (0, 1)
    return len(pair)
