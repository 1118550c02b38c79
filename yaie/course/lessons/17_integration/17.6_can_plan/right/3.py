def _can_plan(self):
    """Counts the pages itself: a request needs one more when its tokens do not fit the pages that it has."""
    states = [flight.stays for flight in self._flights]
    pages, tables = self.pages, self.kv.block_tables
    need = [r for r in self.scheduler.running if r.num_tokens > pages.block_size * len(tables[r.request_id])]
    return states == [] or (states == [True] and len(need) <= pages.num_available)
