"""What ranks other than 0 run: `python -m yaie.parallel.worker FD RANK`, started by `ranks`.

A loop: receive the name of a method and its arguments, call that method of the rank's own object. The first thing
received says how many ranks there are and what makes the object; an empty message ends the loop.

Meanwhile a thread sends a beat (an empty message) every second, whatever the loop is busy with: while none comes, this
process does not run.
"""

from __future__ import annotations

import os
import pickle
import select
import sys
import threading
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection

import torch

from yaie.parallel.group import CollectiveError, ProcessGroup

BEAT = 1.0  # seconds from one to the next


def main(fd: int, rank: int) -> int:
    """Serve until rank 0 says that it is over. Exit status: 0, or 1 if something went wrong here."""
    connection, sending = Connection(fd), threading.Lock()
    threading.Thread(target=_beat, args=(connection, sending), daemon=True).start()
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
        with sending:
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


def _beat(connection: Connection, sending: threading.Lock) -> None:
    """Send beats. End this process when the other side of the connection is closed, whatever it is waiting for."""
    hung_up = select.poll()
    hung_up.register(connection.fileno(), 0)  # no event but those that cannot be left out: the hang-up is one
    with suppress(OSError):  # it hung up just now
        while True:
            with sending:
                connection.send_bytes(b"")
            if hung_up.poll(1000 * BEAT):
                break
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
