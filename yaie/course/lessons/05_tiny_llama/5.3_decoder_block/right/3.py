from functools import partial


def forward(self, change, residual, cos, sin, attend, operations):
    add_and_norm = partial(operations.rms_norm, eps=self.eps, residual=residual)
    x = add_and_norm(change, self.input_norm)
    x = self.attention(x, cos, sin, attend, operations)
    x = add_and_norm(x, self.post_attention_norm)
    x = self.gate_up_proj(x)
    x = operations.silu_mul(x)
    return self.down_proj(x)
