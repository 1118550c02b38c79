# expect: the length is 1, not 2
from yaie.kernels.sampling import keep_largest


def keep_top_p(logits, top_p):
    p = logits.double().softmax(-1).sort(dim=-1, descending=True).values
    before = p.cumsum(-1) - p
    return keep_largest(logits, (before < top_p[:, None]).sum(-1))
