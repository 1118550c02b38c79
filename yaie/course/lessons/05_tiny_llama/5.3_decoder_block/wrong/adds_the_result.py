# expect: the output of the MLP
def forward(self, change, residual, cos, sin, attend, operations):
    normed = operations.rms_norm(change, self.input_norm, self.eps, residual)
    change = self.attention(normed, cos, sin, attend, operations)
    normed = operations.rms_norm(change, self.post_attention_norm, self.eps, residual)
    residual += self.down_proj(operations.silu_mul(self.gate_up_proj(normed)))
    return residual
