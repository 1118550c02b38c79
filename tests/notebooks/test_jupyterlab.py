"""Notebooks in a real JupyterLab in headless Chromium: what a learner sees, which nbval cannot say.

Each run leaves a screenshot in build/screenshots/.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from yaie.course import REPOSITORY
from yaie.course.tools import generate

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (.ci/run installs one)"),
    pytest.mark.xdist_group("browser"),
]
SETTINGS = REPOSITORY / "yaie" / "course" / "jupyterlab.json"
SCREENSHOTS = REPOSITORY / "build" / "screenshots"
# nbval runs every notebook; here one of each kind.
SLIDERS, CHAT, KERNELS = (f"{name}.ipynb" for name in ("04_sampling", "07_engine", "09_memory_operations"))
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]

RUN_ALL = """async () => {
  const app = window.jupyterapp;
  await app.restored;
  const panel = app.shell.currentWidget;
  await panel.context.ready;
  for (let i = 0; i < 600; i++) {
    const kernel = panel.sessionContext.session?.kernel;
    if (kernel?.connectionStatus === 'connected' && kernel.status === 'idle') break;
    await new Promise(resolve => setTimeout(resolve, 100));
  }
  await app.commands.execute('notebook:run-all-cells');
  const errors = [];
  let code = 0, ran = 0;
  for (const cell of panel.content.widgets) {
    if (cell.model.type !== 'code') continue;
    code += 1;
    if (cell.model.executionCount) ran += 1;
    const outputs = cell.model.outputs;
    for (let i = 0; i < outputs.length; i++)
      if (outputs.get(i).type === 'error') errors.push(JSON.stringify(outputs.get(i).toJSON()).slice(0, 500));
  }
  await app.commands.execute('docmanager:save');
  return {code, ran, errors};
}"""


RUN_CHECK = """async () => {
  const app = window.jupyterapp;
  const panel = [...app.shell.widgets('main')].find(widget => widget.context?.path.endsWith('.ipynb'));
  app.shell.activateById(panel.id);
  const index = panel.content.widgets.findIndex(cell => cell.model.sharedModel.source.includes('.check()'));
  panel.content.activeCellIndex = index;
  await app.commands.execute('notebook:run-cell');
  panel.content.scrollToItem(index, 'start');
  return panel.content.widgets[index].model.outputs.get(0).toJSON().data['text/plain'];
}"""


SHOW_CARD = """async () => {
  const panel = window.jupyterapp.shell.currentWidget;
  const isCard = cell => cell.model.sharedModel.source.endsWith('yaie.exercise("9.1")');
  await panel.content.scrollToItem(panel.content.widgets.findIndex(isCard), 'start');
}"""


SHOW_SLIDER = """async () => {
  const app = window.jupyterapp;
  await app.restored;
  const panel = app.shell.currentWidget;
  await panel.context.ready;
  const index = panel.content.widgets.findIndex(cell => cell.model.sharedModel.source.includes('slider('));
  await panel.content.scrollToItem(index, 'start');
}"""


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A copy of what learners open, so that nothing that JupyterLab saves reaches the repository."""
    root = tmp_path_factory.mktemp("course")
    for folder in ("notebooks", "solutions"):
        shutil.copytree(REPOSITORY / folder, root / folder, ignore=shutil.ignore_patterns(".*"))
    generate.write(root / "exercises")
    return root


@pytest.fixture(scope="module")
def server(course, tmp_path_factory):
    """JupyterLab on a free port, with settings of its own; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = tmp_path_factory.mktemp("jupyter")
    names = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    env = {**os.environ, **{f"JUPYTER_{name}": str(home / name) for name in names}}
    env |= {f"JUPYTERLAB_{name}_DIR": str(home / name) for name in ("SETTINGS", "WORKSPACES")}
    env |= {"IPYTHONDIR": str(home / "ipython"), "YAIE_EXERCISES_DIR": str(course / "exercises")}
    (home / "CONFIG_DIR" / "labconfig").mkdir(parents=True)  # below the learner's own settings, as `make lab` has it
    shutil.copy(SETTINGS, home / "CONFIG_DIR" / "labconfig" / "default_setting_overrides.json")
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser"]
    command += ["--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token=t"]
    with (home / "server.log").open("w") as log:
        process = subprocess.Popen(
            [*command, f"--ServerApp.root_dir={course}"], env=env, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_until_up(f"{address}/api/status?token=t", process, home / "server.log")
        yield address
    finally:
        process.terminate()
        process.wait(60)


def _wait_until_up(url, process, log):
    for _ in range(600):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url, timeout=1)
            return
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not start:\n{log.read_text()}")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("profile")),
            executable_path=CHROMIUM,
            headless=True,
            viewport={"width": 1400, "height": 1000},
            args=FLAGS,
        )
        yield context
        context.close()


class Watched:
    """A browser page with what it complained about and whom it called."""

    def __init__(self, context):
        self.page = context.new_page()
        self.errors, self.outside = [], []
        self.page.on("console", lambda message: self._note(message) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._request)

    def _note(self, message):
        self.errors.append(f"{message.text} {message.location.get('url', '')}")

    def _request(self, request):
        if not request.url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:", "about:")):
            self.outside.append(request.url)

    def open(self, address):
        self.page.goto(address)
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        return self.page


@pytest.fixture
def watched(browser):
    watched = Watched(browser)
    yield watched
    watched.page.close()


def wait_for_editor(page, text):
    """Wait until an editor shows the text: it opens empty, and the file comes a moment later."""
    page.locator(".jp-FileEditor .cm-content", has_text=text).first.wait_for(timeout=60_000)


def run_all(name, server, watched):
    """A notebook's page after all cells have run. Errors, console errors, requests to the outside and broken images are
    what nbval does not see."""
    page = watched.open(f"{server}/lab/tree/notebooks/{name}?token=t&reset")
    found = page.evaluate(RUN_ALL)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{Path(name).stem}.png")
    assert found["errors"] == []
    assert found["ran"] == found["code"] > 0
    broken = page.evaluate(
        "() => [...document.querySelectorAll('.jp-OutputArea img')].filter(i => i.complete && !i.naturalWidth).length"
    )
    assert broken == 0
    assert page.locator(".Toastify__toast, .jp-Dialog").count() == 0  # nobody asks whether you would like news
    assert watched.errors == []
    assert watched.outside == []
    return page


def test_a_chat_runs(server, watched):
    run_all(CHAT, server, watched)


def test_a_slider_still_shows_its_picture_after_the_kernel_has_ended(server, watched):
    """Its control lives in the kernel: "model not found" greeted a learner who opened a notebook again."""
    run_all(SLIDERS, server, watched)
    with urllib.request.urlopen(f"{server}/api/sessions?token=t") as answer:
        sessions = [session["id"] for session in json.load(answer)]
    for session in sessions:
        url = f"{server}/api/sessions/{session}?token=t"
        urllib.request.urlopen(urllib.request.Request(url, method="DELETE"))
    page = watched.open(f"{server}/lab/tree/notebooks/{SLIDERS}?token=t&reset")
    page.evaluate(SHOW_SLIDER)
    output = page.locator(".jp-OutputArea")
    shown = output.get_by_text("model not found").or_(output.locator(".widget-slider"))
    shown.first.wait_for(timeout=60_000)
    page.screenshot(path=SCREENSHOTS / "slider_again.png")
    assert page.get_by_text("model not found").count() == 0
    assert output.locator(".widget-html img").first.is_visible()


def test_card_opens_a_cuda_file_in_the_editor(server, watched):
    """JupyterLab does not know the ending .cu; a file that it offers for download cannot be edited."""
    page = run_all(KERNELS, server, watched)
    page.evaluate(SHOW_CARD)
    page.locator(".jp-OutputArea").get_by_text("Open beside", exact=True).first.click()
    wait_for_editor(page, "// Exercises of lesson 09")
    assert page.locator(".jp-NotebookPanel").first.is_visible()
    page.screenshot(path=SCREENSHOTS / "card_cuda.png")


def test_card_links_to_the_exercise_file(server, watched):
    """A card that leads nowhere leaves the learner asking where to type."""
    page = run_all("00_start_here.ipynb", server, watched)
    page.locator(".jp-OutputArea").get_by_text("exercises/00_start_here.py", exact=True).first.click()
    wait_for_editor(page, "def blocks_needed")
    assert not page.locator(".jp-NotebookPanel").first.is_visible()
    page.screenshot(path=SCREENSHOTS / "card_link.png")


def test_learner_fails_an_exercise_and_then_passes_it(course, server, watched):
    """The main job of the course, through the real page: edit the file, see what is wrong, fix it, pass."""
    stub = '        raise NotImplementedError("exercise 0.1: write this function")\n'
    path = course / "exercises" / "00_start_here.py"
    as_generated = path.read_text()
    assert stub in as_generated
    page = watched.open(f"{server}/lab/tree/notebooks/00_start_here.ipynb?token=t&reset")
    page.evaluate(RUN_ALL)
    try:
        path.write_text(as_generated.replace(stub, "        return num_tokens // self.block_size\n"))
        page.locator(".jp-OutputArea").get_by_text("Open beside", exact=True).first.click()
        wait_for_editor(page, "def blocks_needed")
        assert page.locator(".jp-NotebookPanel").first.is_visible()
        failed = page.evaluate(RUN_CHECK)
        assert "failed" in failed
        assert "`//` rounds down" in failed
        page.wait_for_timeout(1000)
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / "check.png")
        path.write_text(as_generated.replace(stub, "        return -(-num_tokens // self.block_size)\n"))
        card = page.locator(".jp-OutputArea", has_text="Exercise 0.1: How many blocks?").first
        card.get_by_role("button", name="Check").click()
        page.locator(".jp-OutputArea").get_by_text("0.1 How many blocks?: passed").first.wait_for(timeout=60_000)
        card.get_by_role("button", name="Reset").click()
        page.locator(".jp-Stdin-input").fill("yes")
        page.keyboard.press("Enter")
        page.locator(".jp-OutputArea").get_by_text("Exercise 0.1 is as it was generated").wait_for(timeout=60_000)
        page.screenshot(path=SCREENSHOTS / "buttons.png")
        assert path.read_text() == as_generated
    finally:
        path.write_text(as_generated)
