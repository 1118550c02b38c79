"""The figures that notebooks draw: plain data in, a `Figure` with alt text out. Nothing here imports the engine.

svg: the canvas and `filmstrip`. tree: radix trees. memory: pages of a KV cache, warps and banks. charts: bars, curves,
roofline, probabilities. timeline: a continuous batch. model: matrices, rotation, shapes. widgets: sliders.
"""

from yaie.plots.charts import bars
from yaie.plots.memory import Block, bank_map, block_map, block_map_steps, blocks_of, threads_to_memory
from yaie.plots.model import matrix
from yaie.plots.svg import Figure, filmstrip
from yaie.plots.timeline import Span, timeline
from yaie.plots.tree import TreeNode, radix_tree, tree_filmstrip

__all__ = [
    "Block",
    "Figure",
    "Span",
    "TreeNode",
    "bank_map",
    "bars",
    "block_map",
    "block_map_steps",
    "blocks_of",
    "filmstrip",
    "matrix",
    "radix_tree",
    "threads_to_memory",
    "timeline",
    "tree_filmstrip",
]
