from yaie.server.engine_thread import Busy


def _admit(self, number, chunks):
    room = self.limit - self.num_open
    if number > room:
        raise Busy if number <= self.limit else ValueError(f"at most {self.limit} answers, got {number}")
    ids = []
    for _ in range(number):
        ids.append("http-" + str(next(self._numbers)))
        self._open[ids[-1]] = chunks
    return ids
