# expect: the pages decide.
def _can_plan(self):
    if not self._flights:
        return True
    spare = self.pages.num_available >= len(self.scheduler.running)
    return len(self._flights) == 1 and self._flights[0].stays and spare
