# expect: number of children that were looked at in a loop
from yaie.kernels.radix_tree import Position, common_prefix_length


def match_prefix(root, tokens, page_size=1):
    node, inside, length = root, 0, 0
    while inside == len(node.edge):
        for child in node.children.values():
            same = common_prefix_length(child.edge, tokens[length:]) // page_size * page_size
            if same > 0:
                break
        else:
            break
        node, inside, length = child, same, length + same
    return Position(node, inside, length)
