"""What the emulator found wrong with a kernel, in sentences."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .launchers import Launcher
from .source import Source

# Why a finding usually happens, one sentence per kind.
CAUSES = {
    "out_of_bounds": "the index is wrong, or a guard such as `if (i < n)` is missing or uses the wrong size.",
    "no_dynamic_shared": "the launch asks for no dynamic shared memory: its third argument, in bytes, is missing.",
    "small_dynamic_shared": "the third argument of the launch counts bytes, not elements, or an index is too large.",
    "small_variable": "an index goes past the declared size of a __device__ or __constant__ array.",
    "negative": "an index is negative: a guard for the first elements is missing, or the index is computed wrongly.",
    "null_pointer": "a pointer was never set, or the launcher was given None for it.",
    "no_tensor": "an index is far out, or the pointer is wrong: computed wrongly, or of the host's memory.",
    "misaligned": "a vector type (float4, half2, ...) is read at an index that is not a multiple of its width.",
    "const_write": "the launcher promises not to change this tensor (const), and a cast took the promise away.",
    "race": "no __syncthreads() (or, inside one warp, __syncwarp()) lies between the two.",
    "race_tensor": "two threads meet at one element: is the index wrong? Else a __syncthreads() is missing.",
    "race_blocks": "two blocks meet at one element, and nothing orders them: is the index wrong? Or use two launches.",
    "race_update": "several threads change one element: is the index wrong? If all are to change it, use an atomic.",
    "race_stores": "threads store different values in one element: is the index wrong, or is one thread to store?",
    "race_atomic": "an atomic orders nothing but other atomics: a plain access needs a barrier or a launch between.",
    "uninitialised": "no thread of this block wrote that element: is the index wrong, a loop too short, a guard wrong?",
    "uninitialised_atomic": "an atomic changes what is there, and nobody set it: let one thread, then __syncthreads().",
    "cp_async_not_waited": "the data of a cp.async arrives only at cp_async_wait<n>(), followed by __syncthreads().",
    "barrier_divergence": "__syncthreads() stands in a condition that is not the same for all threads of the block.",
    "exit_before_barrier": "__syncthreads() is for all threads of a block: some returned early or never come to it.",
    "barrier_again": "a loop takes some threads round more often than others, with a barrier in it.",
    "warp_divergence": "a condition sends lanes to different calls, and all that a mask names must make the same.",
    "exit_before_warp_function": "an early `return`, or a loop that lanes leave sooner: skip the work, not the call.",
    "shuffle_source": "only lanes that make the same call can be read: mask, distance or width is wrong.",
    "warp_mask": "the mask of a warp function must name the calling lane and every other lane that calls it.",
    "deadlock": "threads wait for others that never come: a barrier or warp function stands in a condition.",
    "endless_loop": "the loop's condition never becomes false, or it waits for a block that runs later.",
    "stack_overflow": "a recursion does not end, or a local array is very large: move it to shared or global memory.",
    "division_by_zero": "an integer division or % has a divisor of 0.",
    "exit": "it would end the whole program: a kernel ends with return, a launcher returns an error code.",
    "assert": "the kernel's own assertion does not hold for this input.",
    "bad_launch": "the card would refuse this launch, and without a check of cudaGetLastError() nobody would notice.",
    "error_ignored": "the last line of a launcher should be `return cudaGetLastError();`.",
    "trap": "the code's behaviour is undefined for this input.",
    "host_fault": "host code uses a pointer that is null or points nowhere, or goes past the end of an array.",
    "host_access": "a launcher is host code: do it in a kernel, or copy with cudaMemcpy first.",
    "copy_direction": "the kind of a copy names where source and destination lie; cudaMemcpyDefault asks the pointers.",
    "unset_variable": "a local variable has no first value, or gets it only on some paths.",
    "missing_return": "a path through the function ends without a return statement.",
    "launch_error": "the launcher returned an error code of its own.",
    "unsupported": "run it on a GPU with load(..., backend='cuda').",
    "tma_not_waited": "a tile is there once its mbarrier's phase has completed: mbarrier_wait with its parity.",
    "refilled": "a buffer is free once its readers have waited for their products and arrived at its `empty` barrier.",
    "tma_overlap": "the tiles of two loads overlap: each begins behind all the bytes of the one before.",
    "tma_store_not_waited": "tma_store_commit() and tma_store_wait_read<n>() come before its tile changes or is gone.",
    "mbarrier_deadlock": "the parity flips with each phase (a producer's first wait for `empty` is for parity 1), and "
    "as many must arrive in each phase as mbarrier_init said.",
    "mbarrier_bytes": "mbarrier_arrive_expect_tx must name the bytes of all loads of the phase: whole boxes.",
    "mbarrier_parity": "a parity is the last bit of the number of a phase: take that number modulo 2.",
    "mbarrier_arrivals": "mbarrier_init counts too few arrivals, or a thread arrives that should not.",
    "mbarrier_not_initialised": "one thread calls mbarrier_init, then fence_mbarrier_init(); then __syncthreads().",
    "mbarrier_fence": "fence_mbarrier_init() makes a new mbarrier known to TMA: right after mbarrier_init.",
    "named_barrier": "all who come name the same number of threads: of those that wait and those that arrive.",
    "registers": "setmaxnreg_inc takes what setmaxnreg_dec of others gave: in all no more than at the launch.",
    "wgmma_fence": "wgmma_fence() stands between a use of registers by the thread and the wgmma that takes them.",
    "wgmma_not_waited": "accumulators are there after wgmma_commit() and a wgmma_wait<n>() that covers their group.",
    "operand_changed": "registers of A belong to the product until wgmma_wait: pack the next ones after it.",
    "proxy_fence": "what threads write, by cp.async too, TMA and wgmma see only after a fence_proxy_async(): of "
    "whoever wrote it before the barrier, or of whoever starts them after it.",
    "warpgroup_divergence": "all 128 threads of a warpgroup issue the same wgmma: no branch by warp, no early return.",
    "tile_misaligned": "declare shared tiles __align__(1024), and step through them by whole rows of the swizzle.",
    "tensor_map": "cuTensorMapEncodeTiled refuses this map on a card, too.",
}

TITLES = {
    "out_of_bounds": "out-of-bounds {access}{bytes}",
    "misaligned": "misaligned {access}{bytes}",
    "const_write": "write through a const pointer to `{array}`",
    "race": "race on `{array}`",
    "uninitialised": "{access} of uninitialised shared memory `{array}`",
    "cp_async_not_waited": "`{array}` is used before its cp.async was waited for",
    "barrier_divergence": "barrier divergence",
    "exit_before_barrier": "threads returned before a barrier",
    "warp_divergence": "warp divergence",
    "exit_before_warp_function": "lanes returned before a warp function",
    "shuffle_source": "a shuffle reads from a lane that does not take part",
    "warp_mask": "wrong warp mask",
    "deadlock": "deadlock",
    "endless_loop": "endless loop",
    "stack_overflow": "stack overflow",
    "division_by_zero": "integer division by zero",
    "exit": "end of the program",
    "assert": "device assertion failed",
    "bad_launch": "bad launch",
    "error_ignored": "the launcher kept an error to itself",
    "trap": "undefined behaviour",
    "host_fault": "the launcher itself failed",
    "copy_direction": "a copy in the wrong direction",
    "unset_variable": "use of an uninitialised variable",
    "missing_return": "a function ends without returning a value",
    "launch_error": "the launcher returned an error",
    "unsupported": "not in the emulator",
    "tma_not_waited": "`{array}` is used before the TMA load into it has landed",
    "refilled": "`{array}` is refilled before it was released",
    "tma_overlap": "two TMA loads write the same bytes of `{array}`",
    "tma_store_not_waited": "`{array}` is given up before its TMA store has read it",
    "mbarrier_deadlock": "deadlock at an mbarrier",
    "mbarrier_bytes": "the bytes of an mbarrier never complete",
    "mbarrier_parity": "a parity that is neither 0 nor 1",
    "mbarrier_arrivals": "too many arrivals at an mbarrier",
    "mbarrier_not_initialised": "an mbarrier that is not initialised",
    "mbarrier_fence": "no fence after mbarrier_init",
    "named_barrier": "a named barrier with the wrong count",
    "registers": "more registers than there are",
    "wgmma_fence": "wgmma without its fence",
    "wgmma_not_waited": "wgmma was not waited for",
    "operand_changed": "registers of A change in flight",
    "proxy_fence": "`{array}` was written without a proxy fence",
    "warpgroup_divergence": "the warps of a warpgroup diverge at wgmma",
    "tile_misaligned": "misaligned tile",
    "tensor_map": "a map of a tensor that the card refuses",
}

# What the other thread of a finding did.
OTHER_DID = {
    "race": "made {access} of the same bytes",
    "cp_async_not_waited": "started this copy",
    "tma_not_waited": "started this load",
    "refilled": "makes {access} of it",
    "tma_overlap": "started the other load",
    "tma_store_not_waited": "started this store",
    "proxy_fence": "wrote it",
    "deadlock": "waits, too",
    "mbarrier_not_initialised": "initialises it",
    "mbarrier_fence": "uses it",
    "wgmma_fence": "used the registers",
    "wgmma_not_waited": "started the product",
    "operand_changed": "started the product",
}

READ, WRITE, ATOMIC = 0, 1, 2  # as in interface.h
ACCESS = {READ: "read", WRITE: "write", ATOMIC: "atomic update", -1: "access"}
AN_ACCESS = {kind: f"a{'n' * name.startswith('a')} {name}" for kind, name in ACCESS.items()}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, merged over all threads for which it is wrong on the same line (or pair of
    lines).

    ``block`` and ``thread`` are the first ones it was seen for, ``(x, y, z)``. A race also has the other
    side: ``other_line``, ``other_block``, ``other_thread``. ``array`` is the launcher's parameter or the
    shared array, ``element`` its element index (flat), ``index`` the same per dimension of the tensor.
    ``cause`` is what such a finding usually comes from, or, where it is ``computed``, what this one does.
    ``calls`` are the places, (file, line), at which the functions around ``line`` were called, the innermost first.
    ``text`` says it all.
    """

    kind: str
    kernel: str
    file: str
    line: int | None
    block: tuple[int, int, int]
    thread: tuple[int, int, int]
    text: str
    cause: str
    other_file: str | None = None
    other_line: int | None = None
    other_block: tuple[int, int, int] | None = None
    other_thread: tuple[int, int, int] | None = None
    array: str | None = None
    element: int | None = None
    index: tuple[int, ...] | None = None
    count: int = 1
    computed: bool = False
    calls: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        return self.text


class KernelError(RuntimeError):
    """A kernel did something wrong. ``findings`` lists what; the message shows the first few.

    The tensors of the call are left as they were.
    """

    def __init__(self, findings: list[Finding], note: str = "") -> None:
        self.findings = findings
        shown = [f.text for f in findings[:6]]
        if len(findings) > len(shown):
            shown.append(f"... and {len(findings) - len(shown)} more in .findings")
        super().__init__("\n" + "\n\n".join(shown) + (f"\n{note}" if note else ""))


def launch_error(launcher: Launcher, error: str, source: Source) -> Finding:
    """A launcher returned an error, which ``error`` names."""
    return _of_launcher("launch_error", launcher, f"returned {error}", source)


def error_ignored(launcher: Launcher, source: Source) -> Finding:
    """A launch was refused, and its launcher returned 0."""
    return _of_launcher("error_ignored", launcher, "returned 0, which says that all is well: a launch failed", source)


def _of_launcher(kind: str, launcher: Launcher, what: str, source: Source) -> Finding:
    text, zero = f"{launcher.name} ({source.path.name}:{launcher.line}) {what}", (0, 0, 0)
    return Finding(kind, launcher.name, str(source.path), launcher.line, zero, zero, text, CAUSES[kind])


def unset_variable(launcher: str, file: str, line: int, name: str, declared: int) -> dict:
    """A raw finding, as the runtime's: a local variable is used before it is set, and the results depend on it."""
    place = {"block": [0, 0, 0], "thread": [0, 0, 0], "pc": 0, "file": file, "line": line, "access": -1}
    numbers = ("size", "offset", "array_bytes", "item", "shared", "dynamic", "variable", "again", "update")
    where = f" (line {declared})" if declared else ""
    detail = (
        f"`{name}`{where} is used before it is set, and the results of {launcher} depend on what it holds by chance"
    )
    names = {"kind": "unset_variable", "kernel": "", "array": "", "detail": detail, "because": "", "calls": []}
    return {**names, **dict.fromkeys(numbers, 0), "place": place, "other": None, "count": 1}


@dataclass
class Tensors:
    """Shapes of the call's tensors by parameter name, to turn an element number into an index."""

    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def index(self, array: str, element: int) -> tuple[int, ...] | None:
        shape = self.shapes.get(array)
        if shape is None or len(shape) < 2:
            return None
        total = 1
        for size in shape:
            total *= size
        if not 0 <= element < total:
            return None
        index = []
        for size in reversed(shape):
            index.append(element % size)
            element //= size
        return tuple(reversed(index))


@dataclass(frozen=True)
class SourceLine:
    file: str
    line: int
    # Itself, and the calls that were inlined around it.
    frames: tuple[SourceLine, ...] = field(default=(), compare=False)

    def code(self, lines: dict[str, list[str]]) -> str:
        text = lines.get(self.file, [])
        return text[self.line - 1].strip() if 0 < self.line <= len(text) else ""

    def show(self, lines: dict[str, list[str]]) -> str:
        return f"\n    {self.file.rsplit('/', 1)[-1]}:{self.line}: {self.code(lines)}"


TOLD = re.compile("\1([^\2]*)\2")  # what the runtime leaves to us, who know the lines


def pcs_of(report: dict) -> set[int]:
    """The instructions whose places `make_findings` will ask for."""
    found = {place["pc"] for raw in report["findings"] for place in (raw["place"], raw["other"]) if place}
    called = {pc for raw in report["findings"] for pc in raw["calls"]}
    told = {
        int(pc)
        for raw in report["findings"]
        for text in TOLD.findall(raw["detail"] + raw["because"])
        for pc in _pcs(text)
    }
    return found | called | told | {sample[0] for sample in report["samples"]}


def _pcs(told: str) -> list[str]:
    return [pc for pc in told.rpartition("|")[2].split(",") if pc]


def make_findings(
    report: dict, places: dict[int, SourceLine], lines: dict[str, list[str]], tensors: Tensors
) -> list[Finding]:
    """Turns the runtime's report into findings, merged by kind, array and pair of lines, in the order they were met."""
    merged: dict[tuple, Finding] = {}
    updated = {(raw["kernel"], raw["array"]) for raw in report["findings"] if raw["update"]}
    for raw in report["findings"]:
        raw["update"] = raw["kind"] == "race" and (raw["kernel"], raw["array"]) in updated
        finding = _make(raw, report, places, lines, tensors)
        sides = sorted([(finding.file, finding.line or 0), (finding.other_file or "", finding.other_line or 0)])
        key = (finding.kind, finding.kernel, finding.array, *sides)
        if key not in merged:
            merged[key] = finding
        else:
            first = merged[key]
            merged[key] = Finding(**{**first.__dict__, "count": first.count + finding.count})
    return [_with_count(f) for f in merged.values()]


def _with_count(finding: Finding) -> Finding:
    if finding.count == 1:
        return finding
    return Finding(**{**finding.__dict__, "text": f"{finding.text}\n    [seen {finding.count} times]"})


def _line_of(place: dict, places: dict[int, SourceLine]) -> SourceLine | None:
    if place["line"]:
        return SourceLine(place["file"], place["line"])
    return places.get(place["pc"]) if place["pc"] else None


def _loop_start(report: dict, places: dict[int, SourceLine]) -> SourceLine | None:
    """The first line among the places that an endless loop was seen at."""
    seen = [_line_of({"pc": pc, "file": file, "line": line}, places) for pc, file, line, _ in report["samples"]]
    return min((s for s in seen if s), key=lambda s: (s.file, s.line), default=None)


def _make(
    raw: dict, report: dict, places: dict[int, SourceLine], lines: dict[str, list[str]], tensors: Tensors
) -> Finding:
    kind, place, other = raw["kind"], raw["place"], raw["other"]
    line = _line_of(place, places)
    if kind == "endless_loop":
        line = _loop_start(report, places) or line
    other_line = _line_of(other, places) if other else None
    if kind == "deadlock" and _in_header(line) and other_line and not _in_header(other_line):  # whose lines to look at
        place, other, line, other_line = other, place, other_line, line
    item = raw["item"] or 1
    element = raw["offset"] // item if raw["array"] else None
    index = tensors.index(raw["array"], element) if element is not None else None
    across = bool(other) and other["block"] != place["block"]
    calls = _callers(raw["calls"], places)
    detail, because = (_with_places(raw[key], places, lines) for key in ("detail", "because"))
    cause = because or CAUSES[_cause_of(raw, across)]
    own, others = (_outside(side, calls) for side in (line, other_line))
    text = _title(raw, place) + (line.show(lines) if line else "") + _called(line, own, lines)
    if kind in OTHER_DID and other:
        text += _other_side(kind, other, across, other_line, lines) + (
            "" if own else _called(other_line, others, lines)
        )
    if detail := detail or _detail(raw, element, index):
        text += f"\n    {detail}"
    text += f"\n    likely cause: {cause}"
    return Finding(
        kind=kind,
        kernel=raw["kernel"],
        file=line.file if line else "",
        line=line.line if line else None,
        block=tuple(place["block"]),
        thread=tuple(place["thread"]),
        text=text,
        cause=cause,
        other_file=other_line.file if other_line else None,
        other_line=other_line.line if other_line else None,
        other_block=tuple(other["block"]) if other else None,
        other_thread=tuple(other["thread"]) if other else None,
        array=raw["array"] or None,
        element=element,
        index=index,
        count=raw["count"],
        computed=bool(because),
        calls=tuple((each.file, each.line) for each in own),
    )


def _callers(pcs: list[int], places: dict[int, SourceLine]) -> list[SourceLine]:
    """The lines in which the functions that were running had been called, the innermost first."""
    return [frame for pc in pcs for frame in (places[pc].frames if pc in places else ())]


def _in_header(line: SourceLine | None) -> bool:
    return bool(line) and line.file.endswith((".cuh", ".h"))


def _outside(line: SourceLine | None, calls: list[SourceLine]) -> list[SourceLine]:
    """Those of the calls that stand around a line; nothing if it is another thread's."""
    same = [each for each in calls if line and (each.file, each.line) == (line.file, line.line)]
    return calls[calls.index(same[0]) + 1 :] if same else []


def _called(line: SourceLine | None, calls: list[SourceLine], lines: dict[str, list[str]]) -> str:
    """Of a line in a header, the first of the calls from another file."""
    called = next((each for each in calls if _in_header(line) and each.file != line.file), None)
    return f"\n  called from{called.show(lines)}" if called else ""


def _with_places(text: str, places: dict[int, SourceLine], lines: dict[str, list[str]]) -> str:
    """The runtime's text with names of mbarriers and places in the code."""

    def in_words(told: re.Match[str]) -> str:
        what, *rest, _ = told[1].split("|")
        frames = _callers([int(pc) for pc in _pcs(told[1])], places)
        if what == "at":
            first = SourceLine(rest[0], int(rest[1]))
            if _in_header(first):  # it is the call that tells who did it
                first = next((each for each in frames if each.file != first.file), first)
            return f"{first.file.rsplit('/', 1)[-1]}:{first.line}"
        return _name_of_mbarrier([each.code(lines) for each in frames], *rest)

    return TOLD.sub(in_words, text)


def _name_of_mbarrier(made: list[str], index: str, byte: str, array: str) -> str:
    """`ring.full[2]`, by the lines that made it: `mbarrier_init(&full[slot], 1)`, called as `shared.ring.init(1)`."""
    name = re.search(r"mbarrier_init\(\s*&?\s*(?:\w+(?:\.|->))*(\w+)(\[)?", made[0] if made else "")
    if not name:
        return f"the mbarrier at byte {byte} of `{array}`"
    owner = re.search(r"(\w+)(?:\.|->)\w+\(", made[1]) if len(made) > 1 else None
    return f"`{owner[1] + '.' if owner else ''}{name[1]}{f'[{index}]' if name[2] else ''}`"


def _cause_of(raw: dict, across: bool) -> str:
    if raw["kind"] == "out_of_bounds":
        return _cause_of_overrun(raw)
    if raw["kind"] == "uninitialised" and raw["place"]["access"] == ATOMIC:
        return "uninitialised_atomic"
    if raw["kind"] == "host_fault" and raw["array"]:
        return "host_access"
    if raw["kind"] == "exit_before_barrier" and raw["again"]:
        return "barrier_again"
    return _cause_of_race(raw, across) if raw["kind"] == "race" else raw["kind"]


def _cause_of_overrun(raw: dict) -> str:
    if not raw["array"]:
        return "null_pointer" if raw["detail"].endswith("null pointer") else "no_tensor"
    if raw["offset"] < 0:
        return "negative"
    if raw["dynamic"]:
        return "small_dynamic_shared" if raw["array_bytes"] else "no_dynamic_shared"
    return "small_variable" if raw["variable"] else "out_of_bounds"


def _cause_of_race(raw: dict, across: bool) -> str:
    """An atomic is advised only where it helps: where threads read an element and write it back."""
    if raw["update"]:
        return "race_update"
    kinds = {raw["place"]["access"], raw["other"]["access"]}
    if across:
        return "race_atomic" if ATOMIC in kinds else "race_blocks"
    if kinds == {WRITE}:
        return "race_stores"
    return "race" if raw["shared"] else "race_tensor"


def _show(index: list[int]) -> str:
    return "({},{},{})".format(*index)


def _title(raw: dict, place: dict) -> str:
    size = f" of {raw['size']} byte{'s' * (raw['size'] > 1)}" if raw["size"] else ""
    title = TITLES[raw["kind"]].format(access=ACCESS[place["access"]], bytes=size, array=raw["array"])
    if raw["kind"] == "bad_launch":
        return f"{title} of {raw['kernel'] or 'a kernel'}"
    if not raw["kernel"] or "host code" in raw["kernel"] or raw["kernel"].startswith("cuda"):
        return f"{title}{' in ' + raw['kernel'] if raw['kernel'] else ''}"
    who = f"{title} in {raw['kernel']}, block {_show(place['block'])} thread {_show(place['thread'])}"
    return f"{who} makes {AN_ACCESS[place['access']]}" if raw["kind"] == "race" else who


def _other_side(kind: str, other: dict, across: bool, line: SourceLine | None, lines: dict[str, list[str]]) -> str:
    who = f"thread {_show(other['thread'])}" + (f" of block {_show(other['block'])}" if across else "")
    did = OTHER_DID[kind].format(access=AN_ACCESS[other["access"]])
    return f"\n  and {who} {did}" + (line.show(lines) if line else "")


def _detail(raw: dict, element: int | None, index: tuple[int, ...] | None) -> str:
    if element is None or not raw["array_bytes"]:
        return ""
    size, name = raw["array_bytes"] // (raw["item"] or 1), raw["array"]
    what = "shared array" if raw["shared"] else "array" if raw["variable"] else "tensor"
    if raw["kind"] == "out_of_bounds":
        if raw["dynamic"]:
            what = "dynamic shared memory"
        side = "past its end" if element >= 0 else "before its start"
        return f"{what} `{name}` has {size} elements; element {element} is {side}"
    where = f"element {element} of {size}" + (f", index {list(index)}" if index else "")
    return f"{what} `{name}`, {where}"
