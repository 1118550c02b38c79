def _can_plan(self):
    match list(self._flights):
        case []:
            return True
        case [flight]:
            return flight.stays and self.pages.can_grow(self.scheduler.running)
    return False
