"""A pytest plugin for nbval (`-p tests.warm_kernels`): kernels, and the servers of their checks, are forks of a process
that has imported what they need.

nbval starts a kernel for each notebook, and most of that time would go into importing PyTorch again.
"""

import multiprocessing
import os
import subprocess
import sys
from types import SimpleNamespace

from jupyter_client.provisioning import local_provisioner

from yaie.course import REPOSITORY, sandbox

WARM = multiprocessing.get_context("forkserver")
WARM.set_forkserver_preload(
    [
        "ipykernel.kernelapp",
        "torch.utils.cpp_extension",  # it warns of a CUDA toolkit without a GPU, which no notebook can help
        "yaie.course.api",
        "yaie.course.worker",
        "yaie.engine.llm",
        "yaie.plots",
    ]
)


class Kernel:
    """A forked kernel with the names that `subprocess.Popen` has."""

    stdin = stdout = stderr = None

    def __init__(self, command, *, cwd, env, **_):
        started, starts = WARM.Pipe(duplex=False)
        self.process = WARM.Process(target=serve, args=(command[command.index("-f") :], cwd, env, starts))
        self.process.start()
        self.pid = started.recv()  # it has left our group, which is what gets killed
        self.poll = lambda: self.process.exitcode
        self.wait, self.kill, self.terminate = self.process.join, self.process.kill, self.process.terminate

    def send_signal(self, number):
        os.kill(self.pid, number)


class Checks:
    """A check server with the names that `subprocess.Popen` has: the first one that a kernel starts. It is forked while
    the kernel has no threads yet."""

    def __init__(self):
        requests, ask = os.pipe()
        answers, answer = os.pipe()
        fork = multiprocessing.get_context("fork").Process  # of this process, as one that it starts itself
        self.process = fork(target=check, args=(requests, answer, ask, answers), daemon=True)
        self.process.start()
        os.close(requests)
        os.close(answer)
        self.pid, self.stdin, self.stdout = self.process.pid, open(ask, "w"), open(answers)  # noqa: SIM115
        self.poll, self.kill = lambda: self.process.exitcode, self.process.kill
        sandbox.subprocess = SimpleNamespace(PIPE=subprocess.PIPE, Popen=self.taken)

    def taken(self, *_, **__):
        sandbox.subprocess = subprocess
        return self

    def wait(self, timeout=None):
        self.process.join(timeout)
        return self.process.exitcode


def check(requests, answer, *others):
    os.setsid()
    for number, file in enumerate((requests, answer, os.open(os.devnull, os.O_WRONLY))):
        os.dup2(file, number)
    for file in (requests, answer, *others):
        os.close(file)
    os.environ |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    os.chdir(REPOSITORY)
    sys.stdin = open(0)  # noqa: SIM115
    sandbox.serve()


def serve(arguments, folder, environment, starts):
    from ipykernel.kernelapp import launch_new_instance

    os.setsid()
    starts.send(os.getpid())
    os.environ.clear()
    os.environ.update(environment)
    Checks()
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    sys.path[0] = ""
    launch_new_instance(argv=[*arguments, f"--IPKernelApp.parent_handle={os.getppid()}"])  # it ends with its parent


local_provisioner.launch_kernel = Kernel
