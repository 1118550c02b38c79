# expect: the host looked at one
def take_known(token_ids, tokens):
    known = token_ids.clone()
    known[token_ids < 0] = tokens[-1 - token_ids[token_ids < 0]].clamp(min=0)
    return known
