# expect: A search leaves the tree as it is
from yaie.kernels.radix_tree import Position, common_prefix_length, first_page, split_node


def match_prefix(root, tokens, page_size=1):
    node, length = root, 0
    while child := node.children.get(first_page(tokens[length:], page_size)):
        inside = common_prefix_length(child.edge, tokens[length:])
        inside -= inside % page_size
        length += inside
        if inside < len(child.edge):
            return Position(split_node(child, inside, page_size), inside, length)
        node = child
    return Position(node, len(node.edge), length)
