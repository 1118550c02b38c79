import torch


def generate_greedy(model, token_ids, max_new_tokens, stop_token_ids=()):
    if max_new_tokens == 0:
        return []
    logits, past = model.forward_contiguous(torch.tensor(token_ids).to(model.device), None)
    generated = [int(torch.argmax(logits[-1]))]
    while len(generated) < max_new_tokens and generated[-1] not in stop_token_ids:
        logits, past = model.forward_contiguous(torch.tensor(generated[-1:], device=model.device), past)
        generated.append(int(torch.argmax(logits[-1])))
    return generated
