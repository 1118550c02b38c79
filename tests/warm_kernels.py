"""A pytest plugin for nbval (`-p tests.warm_kernels`): kernels are forks of a process that has imported what they need.

nbval starts a kernel for each notebook, and most of that time would go into importing PyTorch again.
"""

import multiprocessing
import os
import sys

from jupyter_client.provisioning import local_provisioner

WARM = multiprocessing.get_context("forkserver")
WARM.set_forkserver_preload(["ipykernel.kernelapp", "yaie.course.api", "yaie.engine.llm", "yaie.plots"])


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


def serve(arguments, folder, environment, starts):
    from ipykernel.kernelapp import launch_new_instance

    os.setsid()
    starts.send(os.getpid())
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    sys.path[0] = ""
    launch_new_instance(argv=[*arguments, f"--IPKernelApp.parent_handle={os.getppid()}"])  # it ends with its parent


local_provisioner.launch_kernel = Kernel
