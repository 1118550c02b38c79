def advance(self, request, num_tokens):
    is_prompt = not request.is_decode
    computed = request.num_computed_tokens + num_tokens
    request.hold(request.locked_node, request.num_published_tokens, computed)
    if is_prompt:
        self.publish(request)
