def rows_and_columns():
    return 64, 70
