def pool_and_tokens():
    return (2, 3, 2)
