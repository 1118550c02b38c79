# expect: device of the tokens
import torch


def generate_greedy(model, token_ids, max_new_tokens, stop_token_ids=()):
    new, past, out = torch.tensor(token_ids), None, []
    while len(out) < max_new_tokens:
        logits, past = model.forward_contiguous(new, past)
        out.append(int(logits[-1].argmax()))
        if out[-1] in stop_token_ids:
            break
        new = torch.tensor(out[-1:])
    return out
