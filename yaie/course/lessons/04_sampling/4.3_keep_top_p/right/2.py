import math


def keep_top_p(logits, top_p):
    result = logits.clone()
    for row, threshold in enumerate(top_p.tolist()):
        if threshold == 1:
            continue
        probs, order = logits[row].double().softmax(dim=-1).sort(descending=True, stable=True)
        before = probs.cumsum(dim=0) - probs
        result[row, order[before >= threshold]] = -math.inf
    return result
