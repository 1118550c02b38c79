def stored_and_asked():
    return [1], [1, 2]
