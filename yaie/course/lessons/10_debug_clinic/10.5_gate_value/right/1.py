def gate_value():
    return 89.0
