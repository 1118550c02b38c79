from uuid import uuid4

from yaie.server.engine_thread import Busy


def _admit(self, number, chunks):
    if self.num_open + number <= self.limit:
        ids = [str(uuid4()) for _ in range(number)]
        for request_id in ids:
            self._open[request_id] = chunks
        return ids
    if self.limit < number:
        raise ValueError(number)
    raise Busy
