import torch


def generate_greedy(model, token_ids, max_new_tokens, stop_token_ids=()):
    def step(tokens, past, left):
        if left == 0:
            return []
        logits, past = model.forward_contiguous(tokens, past)
        best = logits[-1:].argmax(dim=-1)
        if best.item() in stop_token_ids:
            return best.tolist()
        return best.tolist() + step(best, past, left - 1)

    return step(torch.tensor(token_ids, device=model.device), None, max_new_tokens)
