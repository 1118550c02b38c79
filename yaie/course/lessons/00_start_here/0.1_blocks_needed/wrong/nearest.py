# expect: `round` goes to the nearest whole number
def blocks_needed(self, num_tokens):
    return round(num_tokens / self.block_size)
