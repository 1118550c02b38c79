from yaie.kernels.sampling import keep_largest


def keep_top_p(logits, top_p):
    probs = logits.softmax(dim=-1).double().sort(dim=-1, descending=True).values
    before = probs.cumsum(dim=-1) - probs
    counts = (before < top_p[:, None]).sum(dim=-1)
    counts[top_p == 1] = logits.shape[-1]
    return keep_largest(logits, counts)
