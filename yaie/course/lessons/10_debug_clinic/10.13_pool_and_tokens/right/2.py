def pool_and_tokens():
    return 3, 5, 4
