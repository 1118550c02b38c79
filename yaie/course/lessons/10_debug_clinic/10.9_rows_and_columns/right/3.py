def rows_and_columns():
    return [2, 50]
