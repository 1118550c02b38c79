import os.path


def take(self):
    certain = self.text
    if self.detokenizer:
        for at in range(self.num_taken, len(self.text)):
            tail = self.text[at:]
            if any(os.path.commonprefix([tail, stop]) == tail for stop in self.stop):
                certain = self.text[:at]
                break
    new, self.num_taken = certain[self.num_taken :], len(certain)
    return new
