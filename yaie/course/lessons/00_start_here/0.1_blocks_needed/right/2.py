def blocks_needed(self, num_tokens):
    full, rest = divmod(num_tokens, self.block_size)
    return full + 1 if rest else full
