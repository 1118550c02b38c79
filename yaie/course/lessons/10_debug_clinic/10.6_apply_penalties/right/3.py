def apply_penalties(logits, in_prompt, in_output, repetition_penalty, presence_penalty):
    penalty = repetition_penalty[:, None]
    positive, negative = logits.clamp(min=0), logits.clamp(max=0)
    punished = positive / penalty + negative * penalty
    logits = logits.where(~(in_prompt | in_output), punished)
    return logits - in_output.float() * presence_penalty[:, None]
