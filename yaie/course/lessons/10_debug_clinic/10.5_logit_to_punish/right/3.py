def logit_to_punish():
    return 1.5 - 2.0**2
