def ids_of_tokens():
    return [1, 2, -1, 9]
