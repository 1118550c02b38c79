def advance(self, request, num_tokens):
    publish = (lambda request: None) if request.is_decode else self.publish
    request.num_computed_tokens += num_tokens
    publish(request)
