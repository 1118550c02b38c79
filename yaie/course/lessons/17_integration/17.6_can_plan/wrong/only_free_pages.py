# expect: the pages decide.
def _can_plan(self):
    room = self.kv.context_lens
    need = sum(request.num_tokens > room[request.request_id] for request in self.scheduler.running)
    return not self._flights or ([f.stays for f in self._flights] == [True] and need <= self.kv.num_free_blocks)
