def blocks_needed(self, num_tokens):
    import math

    return math.ceil(num_tokens / self.block_size)
