def fewest_that_race():
    return 2
