# expect: The type of the result is wrong.
from yaie.kernels.radix_tree import common_prefix_length, first_page


def match_prefix(root, tokens, page_size=1):
    node, length = root, 0
    while child := node.children.get(first_page(tokens[length:], page_size)):
        inside = common_prefix_length(child.edge, tokens[length:])
        inside -= inside % page_size
        length += inside
        if inside < len(child.edge):
            return child, inside, length  # the engine asks for the parts by name
        node = child
    return node, len(node.edge), length
