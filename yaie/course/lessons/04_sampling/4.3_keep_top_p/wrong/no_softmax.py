# expect: 0, 1, 2, 3, 4, 5
from yaie.kernels.sampling import keep_largest


def keep_top_p(logits, top_p):
    p = logits.double().sort(dim=-1, descending=True).values
    before = p.cumsum(-1) - p
    n = (before < top_p[:, None]).sum(-1).clamp(1)
    return keep_largest(logits, n.masked_fill(top_p == 1, logits.shape[1]))
