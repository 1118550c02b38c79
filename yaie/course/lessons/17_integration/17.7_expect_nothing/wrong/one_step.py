# expect: num_computed_tokens
def expect_nothing(self):
    if self.num_pending:
        self.num_tokens = int((self.token_ids >= 0).sum())
        self.hold(self.locked_node, self.num_published_tokens, self.num_computed_tokens - 1)
        self.num_pending = 0
