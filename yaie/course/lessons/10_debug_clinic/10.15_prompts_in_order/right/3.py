def prompts_in_order():
    return [[3]] * 4 + [[4]]
