def prompts_in_order():
    return [[1], [2], [1], [1], [2], [3], [3]]
