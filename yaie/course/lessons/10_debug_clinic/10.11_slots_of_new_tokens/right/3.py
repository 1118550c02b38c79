def slots_of_new_tokens():
    return (1, -2)
