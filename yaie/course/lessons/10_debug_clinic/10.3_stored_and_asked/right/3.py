def stored_and_asked():
    return ([4, 4], [4, 5])
