def ids_of_tokens():
    return (0, -2)
