// The Python module `yaie_kernels`: every launcher of csrc/, built ahead of time with `pip install ./csrc`.
//
// It says where each launcher is and what it was built from. How a launcher is called, and what it takes, is the same
// for every build and stands in yaie/cuda/arguments.py; so one build serves every version of torch.
//
// "launchers.inc" is written by setup.py: YAIE_FILE(name, fingerprint) for each file, YAIE_LAUNCHER(name) for each launcher.
#include <pybind11/pybind11.h>
#include <stdint.h>

namespace py = pybind11;

// Only for the addresses: the parameters are known to who calls.
#define YAIE_FILE(name, fingerprint)
#define YAIE_LAUNCHER(name) extern "C" int name();
#include "launchers.inc"
#undef YAIE_FILE
#undef YAIE_LAUNCHER

PYBIND11_MODULE(yaie_kernels, module) {
    module.doc() = "The CUDA kernels of YAIE, built ahead of time; `yaie.cuda.load` takes launchers from here.";
    py::dict sources, launchers;
#define YAIE_FILE(name, fingerprint) sources[name] = fingerprint;
#define YAIE_LAUNCHER(name) launchers[#name] = reinterpret_cast<uintptr_t>(&name);
#include "launchers.inc"
    module.attr("SOURCES") = sources;      // file under csrc/ -> fingerprint of what it was built from
    module.attr("LAUNCHERS") = launchers;  // name -> address
    module.attr("ARCHITECTURES") = YAIE_ARCHITECTURES;
}
