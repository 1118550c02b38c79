"""Three differently written right answers for each exercise of lesson 05."""

ANSWERS = {
    "5.1": (
        """
def rms_norm(x, weight, eps):
    wide = x.float()
    root = (wide.square().mean(dim=-1, keepdim=True) + eps).sqrt()
    return (wide / root).to(x.dtype) * weight
""",
        """
def rms_norm(x, weight, eps):
    x32 = x.to(torch.float32)
    mean_square = (x32 * x32).sum(-1, keepdim=True) / x.shape[-1]
    return weight * (x32 * (mean_square + eps) ** -0.5).to(x.dtype)
""",
        """
def rms_norm(x, weight, eps):
    result = torch.empty_like(x)
    for row, out in zip(x.reshape(-1, x.shape[-1]), result.view(-1, x.shape[-1])):
        values = row.double()
        out.copy_(values / torch.sqrt(values.pow(2).mean() + eps))
    return result * weight
""",
    ),
    "5.2": (
        """
def silu_mul(gate_up):
    gate, up = gate_up.chunk(2, dim=-1)
    return gate * torch.sigmoid(gate) * up
""",
        """
def silu_mul(gate_up):
    half = gate_up.shape[-1] // 2
    return F.silu(gate_up[..., :half]) * gate_up[..., half:]
""",
        """
def silu_mul(gate_up):
    pair = gate_up.unflatten(-1, (2, -1))
    gate = pair[..., 0, :]
    return pair[..., 1, :] * (gate / (1 + torch.exp(-gate)))
""",
    ),
    "5.3": (
        """
def forward(self, hidden, cos, sin, attend):
    after = hidden + self.attention(rms_norm(hidden, self.input_norm, self.eps), cos, sin, attend)
    normed = rms_norm(after, self.post_attention_norm, self.eps)
    return after + swiglu(normed, self.gate_up_proj, self.down_proj)
""",
        """
def forward(self, hidden, cos, sin, attend):
    residual = hidden
    hidden = rms_norm(hidden, self.input_norm, self.eps)
    hidden = self.attention(hidden, cos, sin, attend)
    hidden = residual + hidden
    residual = hidden
    hidden = rms_norm(hidden, self.post_attention_norm, self.eps)
    gate, up = self.gate_up_proj(hidden).chunk(2, dim=-1)
    hidden = self.down_proj(gate * torch.sigmoid(gate) * up)
    return residual + hidden
""",
        """
def forward(self, hidden, cos, sin, attend):
    halves = (
        (self.input_norm, lambda x: self.attention(x, cos, sin, attend)),
        (self.post_attention_norm, lambda x: swiglu(x, self.gate_up_proj, self.down_proj)),
    )
    for weight, half in halves:
        hidden = hidden + half(rms_norm(hidden, weight, self.eps))
    return hidden
""",
    ),
    "5.4": (
        """
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
""",
        """
def generate_greedy(model, token_ids, max_new_tokens, stop_token_ids=()):
    if max_new_tokens == 0:
        return []
    logits, past = model.forward_contiguous(torch.tensor(token_ids), None)
    generated = [int(torch.argmax(logits[-1]))]
    while len(generated) < max_new_tokens and generated[-1] not in stop_token_ids:
        logits, past = model.forward_contiguous(torch.tensor(generated[-1:]), past)
        generated.append(int(torch.argmax(logits[-1])))
    return generated
""",
        """
def generate_greedy(model, token_ids, max_new_tokens, stop_token_ids=()):
    def step(tokens, past, left):
        if left == 0:
            return []
        logits, past = model.forward_contiguous(tokens, past)
        best = logits[-1:].argmax(dim=-1)
        if best.item() in stop_token_ids:
            return best.tolist()
        return best.tolist() + step(best, past, left - 1)

    return step(torch.tensor(token_ids), None, max_new_tokens)
""",
    ),
}
