from yaie.kernels.attention import attention, causal_mask


def causal_attention(query, key, value, offset=0, keep=None, scale=None, *, fast=True):
    mask = causal_mask(query.shape[1], key.shape[1], offset, query.device)
    if keep is not None:
        mask = mask & keep[:, None]
    return attention(query, key, value, mask, scale)
