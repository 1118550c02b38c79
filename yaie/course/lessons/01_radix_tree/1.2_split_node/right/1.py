from yaie.kernels.radix_tree import Node, first_page


def split_node(node, length, page_size=1):
    parent = node.parent
    upper = Node(node.edge[:length], node.payload.split(length // page_size))
    upper.parent, upper.key = parent, node.key
    parent.children[upper.key] = upper
    node.edge = node.edge[length:]
    node.parent, node.key = upper, first_page(node.edge, page_size)
    upper.children = {node.key: node}
    return upper
