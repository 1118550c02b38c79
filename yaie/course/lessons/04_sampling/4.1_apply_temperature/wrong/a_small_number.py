# expect: A temperature of 0 was turned into a small number.
def apply_temperature(logits, temperature):
    return (logits - logits.amax(-1, keepdim=True)) / temperature[:, None].clamp(min=1e-5)
