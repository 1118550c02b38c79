def scores_of_keys():
    return [float(j) / 10 for j in range(100)]
