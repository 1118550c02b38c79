def forward(self, change, residual, cos, sin, attend, operations):
    halves = (
        (self.input_norm, lambda x: self.attention(x, cos, sin, attend, operations)),
        (self.post_attention_norm, lambda x: self.down_proj(operations.silu_mul(self.gate_up_proj(x)))),
    )
    for weight, half in halves:
        change = half(operations.rms_norm(change, weight, self.eps, residual))
    return change
