def expect_nothing(self):
    """A place is negative, and a token is not."""
    if self.num_pending:
        self.num_computed_tokens -= self.num_pending
        self.num_pending = 0
        self.num_tokens = int((self.token_ids >= 0).sum())
