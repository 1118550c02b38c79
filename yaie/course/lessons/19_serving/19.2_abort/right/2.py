from dataclasses import replace

from yaie.engine.output import StreamChunk


def _abort(self, request_ids, **told):
    def ended(request_id):
        try:
            return [self.llm.abort(request_id)]
        except KeyError:
            return []

    outputs = [output for request_id in request_ids for output in ended(request_id)]
    return [StreamChunk(output.request_id, "", [], replace(output, **told)) for output in outputs]
