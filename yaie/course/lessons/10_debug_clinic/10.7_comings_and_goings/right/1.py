def comings_and_goings():
    return [("new", "x", 32), ("fork", "x", "y"), ("end", "y")]
