# expect: blocks_needed(0) with block_size 4
def blocks_needed(self, num_tokens):
    return max(1, -(-num_tokens // self.block_size))
