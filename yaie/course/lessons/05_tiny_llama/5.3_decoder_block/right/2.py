import torch

from yaie.kernels.model_ops import rms_norm


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
