def scores_of_keys():
    return [0] * 64 + [5]
