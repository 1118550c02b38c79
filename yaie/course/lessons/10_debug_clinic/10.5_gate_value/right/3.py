def gate_value():
    return 2**8
