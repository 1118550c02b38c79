def rows_and_columns():
    return 33, 1
