def rows_and_columns():
    return 70, 1
