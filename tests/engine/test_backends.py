"""`LLM(backend=...)`: the engine says which backend it cannot run on, when it is made and by name."""

from types import SimpleNamespace

import pytest
import torch

from yaie import LLM, SamplingParams
from yaie.kernels import ops
from yaie.kernels.ops import BackendError
from yaie.models.config import ModelConfig
from yaie.models.llama import Llama
from yaie.models.loader import load_model


def model_with(head_dim):
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_layers=1,
        num_heads=2,
        num_kv_heads=1,
        head_dim=head_dim,
        max_position_embeddings=64,
    )
    return Llama(config), config, None


def test_an_unknown_backend_is_refused():
    """Would catch a misspelt name that silently means torch."""
    for name in ("abacus", "CUDA", ""):
        with pytest.raises(ValueError, match="backend must be one of"):
            LLM("tiny", backend=name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_a_gpu_is_refused_before_a_model_is_loaded(monkeypatch):
    """Would catch minutes of loading that end in an error of the driver."""
    monkeypatch.setattr("yaie.models.loader.load_model", lambda *_: pytest.fail("a model was loaded"))
    with pytest.raises(BackendError, match="'cuda' cannot run here: torch finds no GPU"):
        LLM("tiny", backend="cuda")


def test_a_machine_without_a_compiler_has_no_emulator(monkeypatch):
    """Would catch an engine that is made, and fails at the first request."""
    monkeypatch.setattr(ops, "obstacle", lambda backend: "no C++ compiler found")
    with pytest.raises(BackendError, match="'emulator' cannot run here: no C\\+\\+ compiler"):
        LLM("tiny", backend="emulator")


def test_a_model_that_no_kernel_takes_is_refused_when_the_engine_is_made():
    """Would catch requests that fail one by one, or that torch answers although the emulator was asked for."""
    with pytest.raises(BackendError, match="head_dim that is a multiple of 8 up to 256, not 20"):
        LLM(model_with(head_dim=20), backend="emulator", num_blocks=4)
    model, config, tokenizer = load_model("tiny", torch.float64)
    with pytest.raises(BackendError, match=r"not torch\.float64"):
        LLM((model, config, tokenizer), backend="emulator", num_blocks=4)


def test_auto_runs_what_kernels_refuse():
    """Would catch `auto` that gives up where torch could answer."""
    llm = LLM(model_with(head_dim=20), backend="auto", num_blocks=4)
    output = llm.generate([[1, 2, 3]], SamplingParams(temperature=0, max_tokens=3, ignore_eos=True))[0]
    assert (output.finish_reason, len(output.token_ids)) == ("length", 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_serves(dtype):
    """Would catch a kernel that reads 16-bit weights or pages as something else: other tokens than torch's."""
    model = load_model("tiny", dtype)
    prompt = model[2].apply_chat_template([{"role": "user", "content": "reverse: a b c d"}])
    params = SamplingParams(temperature=0, max_tokens=8)
    texts = []
    for backend in ("torch", "emulator"):
        llm = LLM(model, backend=backend, num_blocks=16)
        texts.append(llm.generate([prompt], params)[0].text)
        assert llm.last_error is None
    assert texts[0] == texts[1] == "d c b a"


def test_auto_is_decided_once_by_trying_a_token(monkeypatch):
    """Would catch `auto` on a GPU that fails with a model which the kernels refuse, or that hides what else breaks."""
    from yaie.models import shard as choosing

    model, kv = SimpleNamespace(), SimpleNamespace(device=torch.device("cuda"))
    tried = []

    def chosen(error, backend="auto"):
        def try_out(*args):
            tried.append(args[-1].name)
            if error:
                raise error

        monkeypatch.setattr(ops, "obstacle", lambda name: None)
        monkeypatch.setitem(ops.shared, "cuda", SimpleNamespace(name="cuda"))
        monkeypatch.setattr(choosing, "try_out", try_out)
        return choosing.choose_operations(backend, model, kv).name

    assert chosen(None) == "cuda"
    assert chosen(BackendError("not torch.float64")) == "torch"
    with pytest.raises(BackendError, match=r"'cuda' cannot run here: not torch\.float64"):
        chosen(BackendError("not torch.float64"), "cuda")
    with pytest.raises(ZeroDivisionError):
        chosen(ZeroDivisionError())
    assert tried == ["cuda"] * 4
    assert chosen(None, "torch") == "torch"
    assert len(tried) == 4
    own = ops.TorchOperations()
    assert choosing.choose_operations(own, model, kv) is own
