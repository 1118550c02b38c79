# expect: No tokens need no block
def blocks_needed(self, num_tokens):
    return max(1, -(-num_tokens // self.block_size))
