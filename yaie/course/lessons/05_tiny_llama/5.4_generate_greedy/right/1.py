import torch


def generate_greedy(model, token_ids, max_new_tokens, stop_token_ids=()):
    generated, past = [], None
    send = list(token_ids)
    for _ in range(max_new_tokens):
        logits, past = model.forward_contiguous(torch.tensor(send, device=model.device), past)
        send = [logits[-1].argmax().item()]
        generated += send
        if send[0] in stop_token_ids:
            break
    return generated
