# expect: what was asked of `operations`
import torch.nn.functional as F


def forward(self, change, residual, cos, sin, attend, operations):
    normed = operations.rms_norm(change, self.input_norm, self.eps, residual)
    change = self.attention(normed, cos, sin, attend, operations)
    normed = operations.rms_norm(change, self.post_attention_norm, self.eps, residual)
    gate, up = self.gate_up_proj(normed).chunk(2, dim=-1)  # right numbers, and no backend's kernel ever runs
    return self.down_proj(F.silu(gate) * up)
