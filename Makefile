# make lab     set everything up and open the course in JupyterLab
# make update  take a newer version of the course; what learners wrote stays
# make test    set everything up and prove the repository
#
# PYTHON=python3.12       the Python to build .venv with
# TORCH_INDEX=ADDRESS     package index to take torch from, for its small CPU build on Linux (see README.md)

PYTHON ?= python3
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Python compiles what it imports; pip would compile all 20,000 files that are installed, a minute's work. Containers
# often forbid it to keep what it compiled: then each process that imports torch compiles it again, half of that time.
PIP_FLAGS := --no-compile
unexport PYTHONDONTWRITEBYTECODE

LAB_SETTINGS := $(VENV)/share/jupyter/lab/settings/overrides.d/yaie.json

NBVAL := python -m pytest -p tests.warm_kernels --nbval --nbval-current-env --nbval-cell-timeout=120 \
	-n 2 --dist loadscope -q -p no:cacheprovider

.PHONY: lab update test check-tools notebooks clean

# A notebook that is not trusted asks before each button.
lab: $(VENV)/.lab $(LAB_SETTINGS)
	@-yaie update
	@-jupyter trust notebooks/*.ipynb solutions/*.ipynb >/dev/null
	jupyter lab --ServerApp.root_dir="$(CURDIR)" $(LAB_ARGS) notebooks/00_start_here.ipynb

# Running a notebook changes it, and git does not pull over changes. Exercise files are brought up to date by `make lab`.
update:
	@git diff --quiet HEAD -- notebooks solutions || { git stash push --quiet --message "before make update" -- notebooks solutions && \
		echo "Notebooks that you have run or changed are set aside as they were: git stash list"; }
	git pull

# One thread a process: two processes at a time fill two cores, and threads of theirs would only wait for each other.
test: export OMP_NUM_THREADS := 1
test: $(VENV)/.test
	@echo "[1/4] ruff"
	ruff check
	ruff format --check
	@echo "[2/4] tests"
	@python -c 'import yaie.cuda; yaie.cuda.prepare()'  # once, and not in both processes at the same time
	python -m pytest -n 2 --dist worksteal -q -p no:nbval
	@echo "[3/4] every notebook as shipped: exercises not attempted"
	rm -rf build/as-shipped build/solved
	python -m yaie.course.tools.generate --to build/as-shipped
	YAIE_EXERCISES_DIR="$(CURDIR)/build/as-shipped" YAIE_EXPECT="not attempted" $(NBVAL) notebooks
	@echo "[4/4] every notebook with the exercises solved"
	python -m yaie.course.tools.generate --to build/solved --solved
	YAIE_EXERCISES_DIR="$(CURDIR)/build/solved" YAIE_EXPECT=passed $(NBVAL) notebooks
	@echo "All green."

# Run every notebook and store what it shows (maintainers).
notebooks: $(VENV)/.test
	python -m yaie.course.tools.notebooks

# What JupyterLab would ask at its first start (news, newer versions of itself) is answered; a learner's own settings win.
$(LAB_SETTINGS): yaie/course/jupyterlab.json
	@mkdir -p $(@D)
	@cp $< $@

clean:
	rm -rf build $(VENV)

# Learners need less than tests do: the extra of pyproject.toml is installed that the file is named after.
$(VENV)/.lab $(VENV)/.test: $(VENV)/.%: pyproject.toml
	@$(MAKE) --no-print-directory check-tools
	@echo "Setting up $(VENV): a few minutes the first time, most of it for torch."
	$(PYTHON) -m venv $(VENV)
	python -m pip install --upgrade "pip>=25"
	if [ -n "$(TORCH_INDEX)" ]; then python -m pip install $(PIP_FLAGS) "torch>=2.11,<2.16" --index-url "$(TORCH_INDEX)"; fi
	python -m pip install $(PIP_FLAGS) --editable ".[$*]"
	yaie update
	@touch $@

check-tools:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed, and $(PYTHON) is not. Install one and name it: make lab PYTHON=python3.12"; \
		echo "  Debian, Ubuntu: sudo apt install python3 python3-venv     Fedora: sudo dnf install python3     macOS: brew install python"; \
		exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "Python's venv module is missing."; \
		echo "  Debian, Ubuntu: sudo apt install python3-venv"; exit 1; }
	@command -v g++ >/dev/null || command -v clang++ >/dev/null || { \
		echo "A C++ compiler (g++ or clang++) is needed for the CUDA lessons."; \
		echo "  Debian, Ubuntu: sudo apt install g++     Fedora: sudo dnf install gcc-c++     macOS: xcode-select --install"; \
		exit 1; }
