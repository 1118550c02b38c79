# expect: `logits` itself
from yaie.kernels.sampling import keep_largest


def keep_top_p(logits, top_p):
    if (top_p == 1).all():
        return logits
    p = logits.double().softmax(-1).sort(dim=-1, descending=True).values
    before = p.cumsum(-1) - p
    n = (before < top_p[:, None]).sum(-1)
    return keep_largest(logits, n)
