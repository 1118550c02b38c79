def slots_of_new_tokens():
    return [-4, -4]
