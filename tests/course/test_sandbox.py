"""The sandbox itself: its limits, its ends, and that nothing of it is left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

import yaie.cuda.card.build
import yaie.cuda.emulated.build
from yaie.course import api, judge, worker
from yaie.course import sandbox as sandbox_module
from yaie.course.language import engine_seam
from yaie.course.registry import find_exercise, find_lesson
from yaie.course.sandbox import Sandbox, SandboxError
from yaie.cuda.emulated.build import find_compiler


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def written_pid(path, seconds=30):
    end = time.monotonic() + seconds
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return int(path.read_text())


def loop_that_tells_its_pid(warm_up, path):
    warm_up.write(f"import os\nopen({str(path)!r}, 'w').write(str(os.getpid()))\nwhile True:\n    pass")


@pytest.fixture
def may_take_long(monkeypatch):
    """The exercise has so much time that a worker which is gone was ended for another reason."""
    monkeypatch.setattr(judge, "find_exercise", lambda id: replace(find_exercise(id), time_limit=PATIENCE))


PATIENCE = 600.0  # seconds: longer than anything here waits
needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")


@needs_proc
def test_interrupt_leaves_no_worker_behind(warm_up, sandbox, tmp_path, may_take_long):
    """An endless loop that outlives Ctrl-C heats the laptop until it is shut down."""
    loop_that_tells_its_pid(warm_up, tmp_path / "pid")
    sandbox.run(job("import os"))  # warm, so that the interrupt falls into the loop

    def interrupt():
        written_pid(tmp_path / "pid")
        interrupted.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    interrupted = []
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        judge.check("0.1")
    thread.join()
    assert time.monotonic() - interrupted[0] < 60
    assert_gone(written_pid(tmp_path / "pid"))
    warm_up.write(warm_up.RIGHT)
    assert judge.check("0.1").passed


@needs_proc
def test_notebook_that_is_killed_leaves_no_worker_behind(warm_up, tmp_path):
    """A kernel that is restarted is killed, not asked; its server and worker must notice."""
    loop_that_tells_its_pid(warm_up, tmp_path / "pid")
    script = (
        "from dataclasses import replace\nfrom yaie.course import judge\nfind = judge.find_exercise\n"
        f"judge.find_exercise = lambda id: replace(find(id), time_limit={PATIENCE})\njudge.check('0.1')"
    )
    notebook = subprocess.Popen([sys.executable, "-c", script])
    worker = written_pid(tmp_path / "pid", 60)
    assert alive(worker)
    notebook.kill()
    notebook.wait()
    assert_gone(worker)


def assert_gone(pid):
    end = time.monotonic() + 60
    while alive(pid):
        assert time.monotonic() < end, "the worker is still running"
        time.sleep(0.05)


def job(text, time_limit=20.0):
    exercise = find_exercise("0.1")
    return {
        "exercise": exercise.id,
        "folder": os.environ["YAIE_EXERCISES_DIR"],
        "text": text,
        "use": [],
        "time_limit": time_limit,
        "call_limit": 2.0,
        "every": False,
    }


needs_schedstat = pytest.mark.skipif(not sandbox_module._schedstat(os.getpid())[0], reason="needs /proc/PID/schedstat")


@pytest.fixture
def on_a_busy_core(sandbox):
    """The sandbox, with what it starts on one core that two endless loops keep busy."""
    sandbox.start()
    server, before = sandbox._server.pid, os.sched_getaffinity(0)
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    for pid in (server, *(loop.pid for loop in loops)):
        os.sched_setaffinity(pid, {min(before)})
    yield sandbox
    os.sched_setaffinity(server, before)
    for loop in loops:
        loop.kill()
        loop.wait()


@needs_schedstat
def test_other_programs_take_no_time_from_a_worker(warm_up, on_a_busy_core):
    """A right answer must not be stopped because the machine is busy, and an endless loop must be all the same."""
    spent = "import time\nwhile time.process_time() < {}: pass\n"
    started = time.monotonic()
    report = on_a_busy_core.run({**job(spent.format(0.6)), "time_limit": 1.0})
    assert time.monotonic() - started > 1.0, "the machine was not busy"
    assert report["end"] == "finished"
    assert on_a_busy_core.run({**job(spent.format(60)), "time_limit": 0.5})["end"] == "timeout"


def test_a_worker_that_sleeps_is_stopped(sandbox, warm_up):
    """It takes no processor, and is waited for all the same."""
    started = time.monotonic()
    assert sandbox.run({**job("import time\ntime.sleep(600)"), "time_limit": 1.0})["end"] == "timeout"
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    ("compiling", "seconds", "end"), [(True, "1", None), (False, "600", "timeout"), (True, "600", "patience")]
)
def test_the_compiler_takes_no_time_from_a_worker(compiling, seconds, end, tmp_path, monkeypatch):
    """A learner waits for it; their code does not run. Nobody waits for ever, and then no loop is blamed."""
    for name in ("output", "stack", "mark"):
        (tmp_path / name).touch()
    if compiling:
        (tmp_path / "mark").rename(tmp_path / sandbox_module.COMPILING)
    if end == "patience":
        monkeypatch.setattr(sandbox_module, "PATIENCE", 0.5)
    read, write = os.pipe()
    with os.fdopen(read) as requests, os.fdopen(write, "w"):
        monkeypatch.setattr(sandbox_module.sys, "stdin", requests)
        with subprocess.Popen(["sleep", seconds]) as worker:
            assert sandbox_module._watch(worker.pid, tmp_path, 0.2) == end
            worker.kill()


def test_a_check_that_waits_too_long_for_compilers_blames_no_loop(sandbox, monkeypatch):
    """Would catch "an endless loop?" said to a function that had hardly begun."""
    monkeypatch.setattr(sandbox, "_ask", lambda job: {"end": "patience"})
    with pytest.raises(SandboxError, match="most of them for compilers or other programs"):
        sandbox.run({"time_limit": 1.0})


def test_compilers_are_marked(tmp_path, monkeypatch):
    """Would catch a mark that stays after an error: then nothing would ever be stopped."""
    seen = []

    def run(*_):
        seen.append(any(tmp_path.glob("mark*")))
        raise OSError("no compiler")

    for build in (yaie.cuda.emulated.build, yaie.cuda.card.build):
        monkeypatch.setattr(build, "run", run)
    engine_seam.mark_compiling(tmp_path / "mark")
    for build in (yaie.cuda.emulated.build, yaie.cuda.card.build):
        with pytest.raises(OSError, match="no compiler"):
            build.run(["g++"], tmp_path)
        assert not any(tmp_path.glob("mark*"))
    assert seen == [True, True]


def test_the_mark_stays_for_the_last_of_several_compilers(tmp_path, monkeypatch):
    """Would catch a mark that goes with the first of those that build the emulator's runtime: the others take time."""
    both, seen = threading.Barrier(2), []

    def run(is_last):
        both.wait()
        if is_last:
            first.join()
            seen.append(any(tmp_path.glob("mark*")))

    monkeypatch.setattr(yaie.cuda.emulated.build, "run", run)
    monkeypatch.setattr(yaie.cuda.card.build, "run", run)
    engine_seam.mark_compiling(tmp_path / "mark")
    first = threading.Thread(target=yaie.cuda.emulated.build.run, args=(False,))
    first.start()
    yaie.cuda.emulated.build.run(True)
    assert seen == [True]
    assert not any(tmp_path.glob("mark*"))


BUILDS = """
import os
from pathlib import Path
os.environ["YAIE_CACHE_DIR"] = {!r}
from yaie.cuda.emulated import build
build.RUNTIME = Path({!r})
build.build_runtime({!r})
"""


def test_building_the_runtime_takes_no_time_from_a_worker(warm_up, sandbox, tmp_path):
    """Would catch a right answer that is stopped because it is the first to use the emulator on this machine.

    The kind: anything that compiles more than the learner's file: the runtime here, by a Python exercise (17.2 is one).
    """
    runtime, compiler, cache = tmp_path / "runtime", tmp_path / "slow", tmp_path / "cache"
    runtime.mkdir()
    for name in "ab":
        (runtime / f"{name}.cpp").write_text(f"int {name};")
    compiler.write_text(f'#!/bin/sh\n[ "$1" = --version ] || sleep 0.7\nexec {find_compiler()} "$@"\n')
    compiler.chmod(0o755)
    report = sandbox.run(job(BUILDS.format(str(cache), str(runtime), str(compiler)), time_limit=0.5))
    assert report["end"] == "finished", report
    assert list(cache.glob("runtime-*.so"))


def test_closed_output_does_not_end_the_worker(warm_up, sandbox):
    """End of output is not the end of the process: taking it so kills a check that would have finished."""
    warm_up.write(
        "import os, time\ntry:\n    os.close(1)\n    os.close(2)\nexcept OSError:\n    pass\ntime.sleep(0.03)\nreturn 3"
    )
    outcome = judge.check("0.1")
    assert dict(outcome.rows)["Got"] == str([3] * 10)


def test_children_of_the_worker_are_stopped(warm_up, tmp_path):
    """A program started by learner code must not go on after the check."""
    path = str(tmp_path / "child")
    warm_up.write(
        "import subprocess\nchild = subprocess.Popen(['sleep', '600'])\n"
        f"open({path!r}, 'w').write(str(child.pid))\nreturn 1"
    )
    judge.check("0.1")
    assert_gone(written_pid(tmp_path / "child"))


@needs_proc
def test_daemons_of_the_worker_are_ended(warm_up, tmp_path):
    """A program that has left the session outlives the killing of a group of processes."""
    path = str(tmp_path / "daemon")
    warm_up.write(
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        f"        open({path!r} + '.part', 'w').write(str(os.getpid()))\n"
        f"        os.replace({path!r} + '.part', {path!r})\n        time.sleep(600)\n    os._exit(0)\n"
        f"while not os.path.exists({path!r}):\n    time.sleep(0.01)\nreturn 1"
    )
    assert judge.check("0.1").status == judge.FAILED
    assert_gone(written_pid(tmp_path / "daemon"))


@pytest.mark.parametrize("signal_name", ["SIGKILL", "SIGSTOP"])
def test_server_that_the_learners_file_ends_is_the_files_doing(signal_name, warm_up):
    """ "The check server ended without an answer" sends a learner to the doctor for a line of their own."""
    warm_up.write(f"import os, signal, time\nos.kill(os.getppid(), signal.{signal_name})\ntime.sleep(60)")
    outcome = judge.check("0.1")
    assert outcome.status == judge.FAILED
    assert outcome.headline == "It ended or stopped the process that runs the checks."
    assert judge.check("0.1", warm_up.text(warm_up.RIGHT)).passed


def test_server_that_is_killed_once_costs_nothing(warm_up, tmp_path):
    """The system may kill it for memory; that is not the file's doing, and the check can be had again."""
    mark = str(tmp_path / "killed")
    warm_up.write(
        f"import os, time\nif not os.path.exists({mark!r}):\n    open({mark!r}, 'w').close()\n"
        f"    os.kill(os.getppid(), 9)\n    time.sleep(60)\n{warm_up.RIGHT}"
    )
    assert judge.check("0.1").passed


def test_answer_that_the_worker_did_not_write_is_none():
    """An answer counts where it carries the id of its job: not one of a file, nor of the check before."""
    assert sandbox_module._answer('{"id": "a", "result": {"passed": true}}', "a") == {"passed": True}
    for text in ('{"id": "b", "result": {"passed": true}}', '{"result": {}}', "[1]", "1", "{", "", "null"):
        assert sandbox_module._answer(text, "a") is None


def test_checks_from_several_threads_are_each_answered_right(warm_up, sandbox):
    """One pipe and two threads that read from it: each gets half an answer, or the other's, or none for ever."""
    texts = [warm_up.text(warm_up.RIGHT if number % 2 else f"return {number + 70}") for number in range(8)]
    outcomes = {}

    def check(number):
        outcomes[number] = judge.check("0.1", texts[number], sandbox)

    threads = [threading.Thread(target=check, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(8):
        got = dict(outcomes[number].rows).get("Got")
        assert (outcomes[number].passed, got) == ((True, None) if number % 2 else (False, str([number + 70] * 10)))


def test_a_forked_notebook_has_a_server_of_its_own(warm_up, sandbox):
    """Parent and child that read from one pipe take each other's answers: `multiprocessing` forks."""
    texts = [warm_up.text(f"import time\ntime.sleep(0.02)\nreturn {number + 70}") for number in range(3)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        theirs = pool.map_async(got, texts)
        ours = [got(text) for text in texts]
        assert theirs.get(120) == ours == [str([number] * 10) for number in (70, 71, 72)]


def got(text):
    return dict(judge.check("0.1", text).rows)["Got"]


def test_fault_of_the_course_is_not_blamed_on_the_learner(warm_up, sandbox):
    """A job that the course itself cannot run must say so, in a notebook without a traceback."""
    with pytest.raises(SandboxError, match="not your doing"):
        sandbox.run({**job(warm_up.stub), "exercise": "no such id"})
    assert sandbox.run(job(warm_up.stub))["end"] == "finished"


def test_server_that_dies_is_started_again(warm_up, sandbox):
    """A server killed between two checks must cost no message."""
    sandbox.start()
    sandbox._server.kill()
    sandbox._server.wait()
    assert sandbox.run(job(warm_up.stub))["end"] == "finished"


def test_changed_engine_is_imported_again(warm_up, sandbox, tmp_path, monkeypatch):
    """A server that keeps what it has imported checks against the engine of yesterday."""
    module = tmp_path / "yaie" / "engine" / "engine.py"
    kernel = tmp_path / "csrc" / "sampling" / "filters.cuh"
    for path in (module, kernel):
        path.parent.mkdir(parents=True)
        path.write_text("")
    with monkeypatch.context() as patch:
        patch.setattr(sandbox_module, "REPOSITORY", tmp_path)
        before = sandbox_module._files()
        assert before.keys() == {str(module), str(kernel)}
        os.utime(module, (1, 1))
        assert sandbox_module._files() != before
    servers = []
    for files in (sandbox_module._files(), sandbox_module._files(), before):
        sandbox._files = files  # as they were when the server was started
        sandbox.run(job(warm_up.stub))
        servers.append(sandbox._server.pid)
    assert servers[0] == servers[1] != servers[2]


def test_lessons_are_read_anew_for_each_run():
    """A maintainer who edits a mistake must not be told of the one before."""
    before = find_lesson(0)
    worker.get_ready("0.1")
    assert find_lesson(0) is not before


def test_what_a_check_imports_is_there_before_workers_are_forked(monkeypatch):
    """PyTorch's compiler, which the device "meta" needs, took each of the three workers of a failing 3.1 a second."""
    imported = []
    monkeypatch.setattr(worker, "importlib", SimpleNamespace(import_module=imported.append))
    worker.get_ready("3.1")
    assert imported == ["torch._dynamo"]


def test_server_that_cannot_start_is_a_panel_with_its_last_words(warm_up, monkeypatch):
    """A broken torch must be shown as the reason, not as an endless wait or a broken pipe."""
    monkeypatch.setattr(sandbox_module.sys, "executable", "/bin/false")
    monkeypatch.setattr(judge, "_sandbox", Sandbox())
    warm_up.write("return 1")
    panel = api.exercise("0.1").check()
    assert panel.tone == "bad"
    assert "ended without an answer" in panel.text


def test_modules_in_the_current_folder_do_not_matter(warm_up, tmp_path, monkeypatch):
    """A learner's own random.py beside the notebook must not break the server, nor be used by it."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "random.py").write_text("raise RuntimeError('shadowed')")
    monkeypatch.chdir(tmp_path / "here")
    own = Sandbox()
    warm_up.write("import random\nrandom.random()\n" + warm_up.RIGHT)
    assert judge.check("0.1", sandbox=own).passed
    own.close()


def test_parallel_sandboxes_do_not_disturb_each_other(warm_up, sandbox):
    """A notebook and `yaie watch` check at the same time."""
    warm_up.write("import time\ntime.sleep(0.01)\n" + warm_up.RIGHT)
    other = Sandbox()
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(judge.check("0.1", sandbox=other)))
    thread.start()
    quick = judge.check("0.1", warm_up.text(warm_up.RIGHT), sandbox)
    thread.join()
    assert quick.passed
    assert outcomes[0].passed
    other.close()


def test_what_many_texts_come_to_is_told_whole(exercises, sandbox):
    """A report that was cut off would be taken for one that the learner's code has forged."""
    exercise = find_exercise("0.1")
    bodies = [f"def blocks_needed(self, num_tokens):\n    raise ValueError('{'x' * 9000}')"] * 40
    several = {"bodies": bodies, "listed": len(bodies), "failures": None, "every": True, "time_limit": 60.0}
    report = sandbox.run(job(exercise.language.solved(exercise.file)) | several)
    assert report["end"] == "finished"
    assert len(report["result"]["found"]) == len(bodies)
    assert len(str(report["result"])) > sandbox_module.OUTPUT_LIMIT
