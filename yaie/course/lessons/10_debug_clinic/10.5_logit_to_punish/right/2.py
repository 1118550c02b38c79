def logit_to_punish():
    return -0.5
