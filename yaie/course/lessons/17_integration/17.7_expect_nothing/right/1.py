def expect_nothing(self):
    known = self.num_known_tokens
    if self.num_pending == 0:
        return
    self.num_tokens, self.num_pending = known, 0
    self.hold(self.locked_node, self.num_published_tokens, known - 1)
