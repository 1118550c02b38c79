"""Every solution, run from top to bottom with no exercise attempted, shows what is stored in it.

nbval would start a kernel for each, and most of its time would go into importing PyTorch 21 times. Here each notebook
runs in a fork of a process that has imported it.
"""

import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

import pytest

from tests.course.conftest import same_folder
from yaie.course import REPOSITORY
from yaie.course.tools import generate

SOLUTIONS = sorted((REPOSITORY / "solutions").glob("*.ipynb"))
WARM = multiprocessing.get_context("forkserver")
WARM.set_forkserver_preload(
    ["IPython.core.interactiveshell", "pytest", "yaie.course.tools.generate", "yaie.engine.llm"]
)


def run(path, exercises):
    """What each cell of code printed, and what it showed, beside what is stored."""
    from IPython.core.interactiveshell import InteractiveShell

    os.environ["YAIE_EXERCISES_DIR"] = str(exercises)
    os.chdir(path.parent)
    shell, told, values = InteractiveShell(), [], []
    shell.display_trap.hook = values.append
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            values.clear()
            with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
                shell.run_cell("".join(cell["source"])).raise_error()
            shown = [shell.display_formatter.format(value)[0] for value in values if value is not None]
            told.append((stored(cell), (out.getvalue(), err.getvalue(), shown)))
    return told


def stored(cell):
    printed, shown = {"stdout": "", "stderr": ""}, []
    for output in cell["outputs"]:
        if output["output_type"] == "stream":
            printed[output["name"]] += "".join(output["text"])
        else:
            shown.append({kind: "".join(text) for kind, text in output["data"].items()})
    return *printed.values(), shown


@pytest.fixture(scope="session")
def not_attempted(worker_id):
    folder = same_folder(f"not-attempted-{worker_id}")
    generate.write(folder)
    return folder


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_solution_shows_what_is_stored(path, not_attempted):
    """A stale solution tells of mistakes and statements of yesterday."""
    with ProcessPoolExecutor(1, mp_context=WARM) as fork:
        cells = fork.submit(run, path, not_attempted).result()
    assert cells
    for before, now in cells:
        assert now == before
