def blocks_needed(self, num_tokens):
    return (num_tokens + self.block_size - 1) // self.block_size
