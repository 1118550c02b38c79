"""What ranks other than 0 run: `python -m yaie.parallel.worker FD RANK`, started by `ranks`.

A loop: receive the name of a method and its arguments, call that method of the rank's own object. The first thing
received says how many ranks there are and what makes the object; an empty message ends the loop.
"""

from __future__ import annotations

import os
import pickle
import select
import sys
import threading
import traceback
from multiprocessing.connection import Connection

import torch

from yaie.parallel.group import CollectiveError, ProcessGroup


def main(fd: int, rank: int) -> int:
    """Serve until rank 0 says that it is over. Exit status: 0, or 1 if something went wrong here."""
    threading.Thread(target=_end_with_rank_0, args=(fd,), daemon=True).start()
    connection = Connection(fd)
    try:
        _serve(connection, rank)
    except EOFError:  # rank 0 has ended
        return 1
    except CollectiveError:  # another rank has died; rank 0 finds out which, and ends the others
        threading.Event().wait()
    except BaseException as error:
        traceback.print_exc()
        where = traceback.extract_tb(error.__traceback__)[-1]
        said = f"failed: {type(error).__name__}: {error} ({os.path.basename(where.filename)}, line {where.lineno})"
        connection.send_bytes(said.encode())
        return 1
    return 0


def _serve(connection: Connection, rank: int) -> None:
    size, device, file, make_target = pickle.loads(connection.recv_bytes())
    device = torch.device(device, rank) if device == "cuda" else torch.device(device)
    target = make_target(ProcessGroup(rank, size, file, device))
    while message := connection.recv_bytes():
        method, arguments = pickle.loads(message)
        getattr(target, method)(*arguments)


def _end_with_rank_0(fd: int) -> None:
    """End this process when the other side of the connection is closed, whatever it is waiting for."""
    hung_up = select.poll()
    hung_up.register(fd, 0)  # no event but those that cannot be left out: the hang-up is one
    hung_up.poll()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
