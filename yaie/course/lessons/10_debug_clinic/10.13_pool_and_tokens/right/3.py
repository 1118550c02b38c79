def pool_and_tokens():
    return [4, 2, 12]
