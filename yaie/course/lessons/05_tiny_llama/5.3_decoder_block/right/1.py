def forward(self, change, residual, cos, sin, attend, operations):
    seen = operations.rms_norm(change, self.input_norm, self.eps, residual)
    attended = self.attention(seen, cos, sin, attend, operations)
    gate_up = self.gate_up_proj(operations.rms_norm(attended, self.post_attention_norm, self.eps, residual))
    return self.down_proj(operations.silu_mul(gate_up))
