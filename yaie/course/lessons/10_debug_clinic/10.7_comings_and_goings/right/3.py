def comings_and_goings():
    events = [("new", "a", 5), ("fork", "a", "b")]
    return [*events, ("end", "a"), ("new", "c", 9)]
