def numbers_that_race():
    return 512
