"""Tensor parallel: several processes ("ranks"), each with its part of every weight and of the KV cache, make one model.

`shards` says which part a rank has, `group` adds up what the ranks computed, `ranks` is rank 0's hold on the others,
and `worker` is what the others run. Nothing here knows what a rank computes.
"""
