# expect: The parent lost its other children
from yaie.kernels.radix_tree import Node, first_page


def split_node(node, length, page_size=1):
    upper = Node(node.edge[:length], node.payload.split(length // page_size), node.parent, node.key)
    node.parent.children = {node.key: upper}  # as the table of the statement shows it, where there was one child
    node.edge = node.edge[length:]
    node.key = first_page(node.edge, page_size)
    node.parent, upper.children = upper, {node.key: node}
    return upper
