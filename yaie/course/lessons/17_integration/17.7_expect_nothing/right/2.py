def expect_nothing(self):
    """Each step in flight has counted one token as computed."""
    computed = self.num_computed_tokens - self.num_pending
    if self.num_pending > 0:
        self.num_tokens = computed + 1
    self.hold(self.locked_node, self.num_published_tokens, computed)
    self.num_pending = 0
