def take_known(token_ids, tokens):
    given = tokens.clamp(min=0).take((~token_ids).clamp(min=0))  # ~x is -1 - x
    return token_ids.clamp(min=0) + given * (token_ids < 0)
