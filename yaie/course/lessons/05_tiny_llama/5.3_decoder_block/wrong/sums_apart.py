# expect: rms_norm without residual
def forward(self, change, residual, cos, sin, attend, operations):
    residual.add_(change)
    normed = operations.rms_norm(residual, self.input_norm, self.eps, None)
    residual.add_(self.attention(normed, cos, sin, attend, operations))
    normed = operations.rms_norm(residual, self.post_attention_norm, self.eps, None)
    return self.down_proj(operations.silu_mul(self.gate_up_proj(normed)))
