def stored_and_asked():
    return [5, 6, 7], [5, 6, 8, 9]
