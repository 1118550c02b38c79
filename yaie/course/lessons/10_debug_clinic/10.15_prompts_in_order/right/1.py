def prompts_in_order():
    return [[5, 6], [5, 6], [5, 6], [7]]
