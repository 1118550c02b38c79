# expect: types of the new tokens
import torch


def generate_greedy(model, token_ids, max_new_tokens, stop_token_ids=()):
    new, past, out = torch.tensor(token_ids, device=model.device), None, []
    while len(out) < max_new_tokens:
        logits, past = model.forward_contiguous(new, past)
        t = logits[-1].argmax()
        out.append(t)
        if int(t) in stop_token_ids:
            break
        new = t[None]
    return out
