import torch


def apply_penalties(logits, in_prompt, in_output, repetition_penalty, presence_penalty):
    penalty = repetition_penalty[:, None]
    punished = logits * torch.where(logits > 0, 1 / penalty, penalty)
    logits = torch.where(in_prompt | in_output, punished, logits)
    return logits - in_output * presence_penalty[:, None]
