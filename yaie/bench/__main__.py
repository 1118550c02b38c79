"""`python -m yaie.bench NAME [options]` runs the benchmark `yaie/bench/NAME.py`; without a name it lists them.

A benchmark is a module here with a function `main(arguments)` that takes the rest of the command line and returns the
exit status (None: success).
"""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path


def benchmarks() -> dict[str, str]:
    """Name and first line of every benchmark. They are read, not imported: one may need a GPU to be imported."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(part, ast.FunctionDef) and part.name == "main" for part in module.body):
            found[path.stem] = (ast.get_docstring(module) or "").partition("\n")[0]
    return found


def main(arguments: list[str]) -> int:
    """Run the benchmark named first in `arguments`. Returns the exit status."""
    known = benchmarks()
    if not arguments or arguments[0] not in known:
        wanted = bool(arguments) and arguments[0] not in ("-h", "--help")
        if wanted:
            print(f"There is no benchmark {arguments[0]!r}.", file=sys.stderr)
        print("usage: python -m yaie.bench NAME [options]\n")
        for name, summary in known.items():
            print(f"  {name:10} {summary}")
        return 2 if wanted or not arguments else 0
    try:
        return importlib.import_module(f"yaie.bench.{arguments[0]}").main(arguments[1:]) or 0
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("yaie"):
            raise
        said = f"needs the package {error.name}, which is not installed: pip install 'yaie[test]' has what it may need"
    except (OSError, RuntimeError) as error:
        ours = type(error).__module__.startswith("yaie.")  # no GPU, no compiler, nothing served: no fault in the code
        if not (ours or isinstance(error, OSError)):
            raise
        said = str(error)
    except KeyboardInterrupt:
        return 130
    print(f"python -m yaie.bench {arguments[0]}: {said}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
