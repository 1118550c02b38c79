def logit_to_punish():
    return -20
