from yaie.kernels.model_ops import rms_norm
from yaie.models.llama import swiglu


def forward(self, hidden, cos, sin, attend):
    after = hidden + self.attention(rms_norm(hidden, self.input_norm, self.eps), cos, sin, attend)
    normed = rms_norm(after, self.post_attention_norm, self.eps)
    return after + swiglu(normed, self.gate_up_proj, self.down_proj)
