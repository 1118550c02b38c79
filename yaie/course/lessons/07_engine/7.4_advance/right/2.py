def advance(self, request, num_tokens):
    alone = request.num_tokens - request.num_computed_tokens == 1
    generated = request.num_tokens > request.num_prompt_tokens
    request.hold(request.locked_node, request.num_published_tokens, request.num_computed_tokens + num_tokens)
    if alone and generated:
        return
    self.publish(request)
