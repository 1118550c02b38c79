def _can_plan(self):
    if len(self._flights) == 0:
        return True
    if len(self._flights) > 1 or not self._flights[0].stays:
        return False
    return self.pages.can_grow(self.scheduler.running)
