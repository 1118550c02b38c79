def comings_and_goings():
    return (("new", "a", 1), ("fork", "a", "b"), ("fork", "b", "c"), ("end", "a"), ("end", "c"))
