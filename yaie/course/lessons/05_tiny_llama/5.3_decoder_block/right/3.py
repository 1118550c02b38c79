from yaie.kernels.model_ops import rms_norm
from yaie.models.llama import swiglu


def forward(self, hidden, cos, sin, attend):
    halves = (
        (self.input_norm, lambda x: self.attention(x, cos, sin, attend)),
        (self.post_attention_norm, lambda x: swiglu(x, self.gate_up_proj, self.down_proj)),
    )
    for weight, half in halves:
        hidden = hidden + half(rms_norm(hidden, weight, self.eps))
    return hidden
