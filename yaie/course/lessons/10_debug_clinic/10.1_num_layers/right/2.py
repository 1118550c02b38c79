def num_layers():
    return 8
