"""The shipped tiny model: its checkpoint, and how it was made and measured.

`data` generates synthetic chats, `train` trains on them, `problems` asks held-out questions with exact answers, and
`evaluate` prints how many of them a model gets right.
"""
