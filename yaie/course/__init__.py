"""The course: exercises made from the engine, checks in a sandbox, hints and a progress board.

`api` is what learners call and `judge` checks an exercise: it runs `worker` in the `sandbox`. `registry` knows the
lessons, `files` what a learner has saved, `language` how Python and CUDA differ. `parts` runs the engine with the
learner's functions, `progress` remembers, `show` displays, `doctor` examines the machine. `tools` are for maintainers.
"""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
