from yaie.server.engine_thread import Busy


def _admit(self, number, chunks):
    if number > self.limit:
        raise ValueError("too many answers")
    if len(self._open) + number > self.limit:
        raise Busy()
    new = {f"answer {next(self._numbers)}": chunks for _ in range(number)}
    self._open |= new
    return list(new)
