def gate_value():
    return 1000
