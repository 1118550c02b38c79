"""What ``load`` returns: the launchers of a file as Python functions, on a card or in the emulator."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .arguments import StructValue, signature_of, struct_type
from .card.build import usage
from .card.library import CardLibrary
from .compiler import CompileError
from .emulated.library import EmulatorLibrary, Options, sampled, sampling
from .estimate import Estimate, estimate, works_of
from .launchers import Launcher
from .profile import Profile
from .source import Source


class Module:
    """The launchers of one ``.cu`` file, one Python function each: ``module.name(tensor, ..., number, ...,
    stream=None)``.

    ``backend`` is "emulator" or "cuda", ``check`` whether calls run in check mode, ``launchers`` the names,
    ``structs`` the types of the structs that launchers take, by name, ``last_report`` how much of the last call was
    checked.
    """

    def __init__(self, source: Source, backend: str, check: bool, options: Options) -> None:
        self.source, self.backend, self.check, self._options = source, backend, check, options
        self._libraries: dict[bool, EmulatorLibrary] = {}
        self._card = CardLibrary(source, options.flags) if backend == "cuda" else None
        self._last: EmulatorLibrary | None = None
        launchers = self._card.launchers if self._card else self._emulator(check).launchers
        if not launchers:
            raise CompileError(
                f'{source.path.name} defines no launcher: write extern "C" int name(...) {{ kernel<<<...>>>(...); }}'
            )
        self.launchers: dict[str, Launcher] = {f.name: f for f in launchers}
        structs = (p.struct for launcher in launchers for p in launcher.parameters if p.struct)
        self.structs: dict[str, type[StructValue]] = {struct.name: struct_type(struct) for struct in structs}
        for launcher in launchers:
            if hasattr(self, launcher.name):
                raise CompileError(f"{source.path.name}:{launcher.line}: a launcher may not be called {launcher.name}")
            setattr(self, launcher.name, self._function(launcher))

    def _emulator(self, check: bool) -> EmulatorLibrary:
        if check not in self._libraries:
            self._libraries[check] = EmulatorLibrary(self.source, check, self._options)
        return self._libraries[check]

    def _function(self, launcher: Launcher) -> Callable[..., None]:
        if self._card:
            call = self._card.function(launcher)
        else:

            def call(*args: object, **kwargs: object) -> None:
                self._last = self._emulator(self.check or sampling.get() is not None)
                self._last.call(launcher, args, kwargs)

        call.__name__ = call.__qualname__ = launcher.name
        call.__signature__ = signature_of(launcher)  # type: ignore[attr-defined]
        call.module = self  # type: ignore[attr-defined]
        call.__doc__ = f"{launcher.name}({', '.join(f'{p.declared} {p.name}' for p in launcher.parameters)})"
        return call

    def profile(
        self, launcher: str | None = None, *args, block: Sequence[int] = (0, 0, 0), warp: int = 0, **kwargs
    ) -> Profile:
        """How the kernel touched memory, per source line.

        Without arguments: the last call in check mode (its trace is that of block 0, warp 0). With a
        launcher's name and its arguments: runs it in check mode and traces ``warp`` of ``block``.
        """
        if self._card:
            raise RuntimeError("profile() counts in the emulator: load(path, backend='emulator') and pass CPU tensors")
        if launcher is None:
            self._require_counts("profile()")
            return self._last.profile()
        self._require(launcher)
        self._last = self._emulator(True)
        self._last.call(self.launchers[launcher], args, kwargs, tuple(block), warp)
        return self._last.profile()

    def estimate(self, card: str = "h100", launcher: str | None = None, *args, **kwargs) -> Estimate:
        """How long a call would take on a card, and which limit binds; see `estimate.py` for how.

        With a launcher's name and its arguments, as large as they are to be: a few blocks of each launch run, and
        nothing is written. Without: the last call in check mode, at its own size. Where nvcc is installed it says how
        many registers a thread needs; elsewhere a multiprocessor holds as many blocks as the launch alone allows.

        NotTried: kernels of this kind were not recorded on a card. ValueError: no times are known of this card, or
        nothing was launched.
        """
        if self._card:
            raise RuntimeError("estimate() counts in the emulator: load(path, backend='emulator') and pass CPU tensors")
        if launcher is None:
            self._require_counts("estimate()")
            launches = self._last.report["launches"]
        else:
            self._require(launcher)
            last, report = self._last, self._last and self._last.report
            try:
                with sampled() as sample:
                    getattr(self, launcher)(*args, **kwargs)
            finally:
                self._last = last  # a sample is no call that `profile()` may show
                if last is not None:
                    last.report = report
            launches = sample.launches
        return estimate(works_of(launches, usage(self.source, self._options.flags)), card)

    def _require(self, launcher: str) -> None:
        if launcher not in self.launchers:
            raise AttributeError(
                f"{self.source.path.name} has no launcher {launcher}; it has {', '.join(self.launchers)}"
            )

    def _require_counts(self, who: str) -> None:
        if self._last is None or not self._last.check:
            raise RuntimeError(f"{who} needs a call in check mode before it, or a launcher's name and arguments")

    @property
    def last_report(self) -> dict:
        """``blocks`` run and ``deep_blocks`` fully checked in the last call (a sample, if a launch is large)."""
        report = self._last.report if self._last else {}
        return {name: report.get(name, 0) for name in ("blocks", "deep_blocks")}

    @property
    def remarks(self) -> list[str]:
        """One line for each check that was off, or not complete, in the last call; a KernelError shows them too."""
        return self._last.remarks if self._last else []

    def __repr__(self) -> str:
        return f"<yaie.cuda.Module {self.source.path.name} on {self.backend}: {', '.join(self.launchers)}>"
