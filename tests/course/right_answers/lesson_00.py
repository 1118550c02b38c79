"""Three differently written right answers for each exercise of lesson 00."""

ANSWERS = {
    "0.1": (
        """
def blocks_needed(self, num_tokens):
    return (num_tokens + self.block_size - 1) // self.block_size
""",
        """
def blocks_needed(self, num_tokens):
    full, rest = divmod(num_tokens, self.block_size)
    return full + 1 if rest else full
""",
        """
def blocks_needed(self, num_tokens):
    import math

    return math.ceil(num_tokens / self.block_size)
""",
    )
}
