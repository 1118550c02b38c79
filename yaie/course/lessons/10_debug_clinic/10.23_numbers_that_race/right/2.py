def numbers_that_race():
    return 4096
