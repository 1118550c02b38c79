def ids_of_tokens():
    return [-4]
