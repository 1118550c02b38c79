# expect: the pages decide. Needed: 2, available: 1
def _can_plan(self):
    if not self._flights:
        return True
    steady = len(self._flights) == 1 and self._flights[0].stays
    return steady and all(self.pages.can_grow([request]) for request in self.scheduler.running)
