from dataclasses import replace

from yaie.engine.output import StreamChunk


def _abort(self, request_ids, **told):
    chunks = []
    for request_id in request_ids:
        try:
            output = self.llm.abort(request_id)
        except KeyError:
            continue
        chunks.append(StreamChunk(request_id, "", [], replace(output, **told)))
    return chunks
