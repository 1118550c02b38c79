def slots_of_new_tokens():
    return [0, -1, 2]
