def num_layers():
    return 1
