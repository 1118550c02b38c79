import torch

from yaie.kernels.sampling import keep_largest


def keep_top_p(logits, top_p):
    probs = logits.double().softmax(dim=-1)
    counts = []
    for row, threshold in zip(probs.tolist(), top_p.tolist()):
        mass, count = 0.0, 0
        for p in sorted(row, reverse=True):
            if threshold < 1 and mass >= threshold:
                break
            mass, count = mass + p, count + 1
        counts.append(count)
    return keep_largest(logits, torch.tensor(counts))
