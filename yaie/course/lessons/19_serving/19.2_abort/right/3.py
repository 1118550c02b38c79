from contextlib import suppress
from dataclasses import replace

from yaie.engine.output import StreamChunk


def _abort(self, request_ids, **told):
    outputs = {}
    for request_id in request_ids:
        with suppress(KeyError):
            outputs[request_id] = self.llm.abort(request_id)
    return [StreamChunk(name, "", [], output=replace(output, **told)) for name, output in outputs.items()]
