# expect: self.eps = 0.25
def forward(self, change, residual, cos, sin, attend, operations):
    n = operations.rms_norm(change, self.input_norm, 1e-6, residual)
    c = self.attention(n, cos, sin, attend, operations)
    n = operations.rms_norm(c, self.post_attention_norm, 1e-6, residual)
    return self.down_proj(operations.silu_mul(self.gate_up_proj(n)))
