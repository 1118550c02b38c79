import torch


def apply_penalties(logits, in_prompt, in_output, repetition_penalty, presence_penalty):
    penalty = repetition_penalty[:, None].expand_as(logits)
    factor = torch.ones_like(logits)
    seen = in_prompt | in_output
    factor[seen & (logits > 0)] = 1 / penalty[seen & (logits > 0)]
    factor[seen & (logits <= 0)] = penalty[seen & (logits <= 0)]
    return logits * factor - in_output * presence_penalty[:, None]
