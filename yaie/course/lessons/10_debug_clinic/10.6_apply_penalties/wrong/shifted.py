# expect: instead of 2.0
import torch


def apply_penalties(logits, in_prompt, in_output, repetition_penalty, presence_penalty):
    punished = logits - repetition_penalty[:, None].log()
    logits = torch.where(in_prompt | in_output, punished, logits)
    return logits - in_output * presence_penalty[:, None]
