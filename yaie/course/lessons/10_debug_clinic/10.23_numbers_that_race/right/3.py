def numbers_that_race():
    return 2 * 256 + 1
