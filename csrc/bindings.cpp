// The Python module `yaie_kernels`: every launcher of csrc/, built ahead of time with `pip install ./csrc`.
//
// Free of torch headers, so that one build serves every version of torch: a tensor is any object with data_ptr(), dtype,
// device and is_contiguous(). The list of launchers, "launchers.inc", is written by setup.py from the .cu files; each line
// of it is a declaration and a call of `bind`.
//
// A launch goes to torch's current stream on the device of its first tensor, does not wait for it, and raises
// RuntimeError with CUDA's own words if it fails.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <pybind11/pybind11.h>
#include <stdint.h>

#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>

namespace py = pybind11;

namespace {

// What a call finds out about its arguments while it reads them.
struct Call {
    const char* launcher;
    int device = -1;  // of the first tensor
};

// The dtypes that a pointer type may point at, as torch writes them; null: any.
template <typename T>
const char* dtype_of() {
    using U = std::remove_cv_t<T>;
    if constexpr (std::is_same_v<U, float>) return "torch.float32";
    if constexpr (std::is_same_v<U, __half>) return "torch.float16";
    if constexpr (std::is_same_v<U, __nv_bfloat16>) return "torch.bfloat16";
    if constexpr (std::is_same_v<U, int32_t>) return "torch.int32";
    if constexpr (std::is_same_v<U, int64_t>) return "torch.int64";
    return nullptr;
}

template <typename Error>
[[noreturn]] void refuse(const Call& call, const char* name, const std::string& what, const std::string& got) {
    throw Error(std::string(call.launcher) + ": `" + name + "` " + what + " " + got);
}

// How a launcher's parameter of type P is filled from a Python object. A number that does not fit is refused, not cut off.
template <typename P>
struct Parameter {
    static P read(const Call& call, const char* name, py::handle value) {
        try {
            return value.cast<P>();
        } catch (const py::cast_error&) {
            refuse<py::type_error>(call, name, "must be a number that fits " + py::type_id<P>() + ", got", py::repr(value));
        }
    }
};

// A pointer takes a tensor on a GPU, an address, or None.
template <typename T>
struct Parameter<T*> {
    static T* read(Call& call, const char* name, py::handle value) {
        if (value.is_none()) {
            return nullptr;
        }
        if (py::isinstance<py::int_>(value)) {
            return reinterpret_cast<T*>(value.cast<uintptr_t>());
        }
        if (!py::hasattr(value, "data_ptr")) {
            refuse<py::type_error>(call, name, "must be a tensor, got", py::str(py::type::of(value).attr("__name__")));
        }
        if (!value.attr("is_cuda").cast<bool>()) {
            refuse<py::value_error>(call, name, "must be on a GPU, is on", py::str(value.attr("device")));
        }
        if (!value.attr("is_contiguous")().cast<bool>()) {
            refuse<py::value_error>(call, name, "must be contiguous, has strides", py::str(value.attr("stride")()));
        }
        const std::string dtype = py::str(value.attr("dtype"));
        const char* wanted = dtype_of<T>();
        if (wanted && dtype != wanted) {
            refuse<py::type_error>(call, name, std::string("must be ") + wanted + ", is", dtype);
        }
        const int device = value.attr("get_device")().cast<int>();
        if (call.device >= 0 && device != call.device) {
            refuse<py::value_error>(call, name, "is on another GPU than the tensors before it:", std::to_string(device));
        }
        call.device = device;
        return reinterpret_cast<T*>(value.attr("data_ptr")().cast<uintptr_t>());
    }
};

// A stream takes a torch.cuda.Stream, its handle, or None for torch's current stream. It is read after the tensors.
template <>
struct Parameter<cudaStream_t> {
    static cudaStream_t read(Call& call, const char*, py::handle value) {
        py::object stream = py::reinterpret_borrow<py::object>(value);
        if (stream.is_none()) {
            py::object device = call.device < 0 ? py::object(py::none()) : py::object(py::int_(call.device));
            stream = py::module_::import("torch").attr("cuda").attr("current_stream")(device);
        }
        if (!py::isinstance<py::int_>(stream)) {
            stream = stream.attr("cuda_stream");
        }
        return reinterpret_cast<cudaStream_t>(stream.cast<uintptr_t>());
    }
};

// Makes a device the current one for the length of a call.
class DeviceGuard {
public:
    explicit DeviceGuard(int device) {
        if (device >= 0 && cudaGetDevice(&before_) == cudaSuccess && before_ != device) {
            changed_ = cudaSetDevice(device) == cudaSuccess;
        }
    }
    ~DeviceGuard() {
        if (changed_) {
            cudaSetDevice(before_);
        }
    }
    DeviceGuard(const DeviceGuard&) = delete;
    DeviceGuard& operator=(const DeviceGuard&) = delete;

private:
    int before_ = 0;
    bool changed_ = false;
};

template <typename>
using Object = py::object;

// One Python function for a launcher. `arguments` are its parameters' names, the stream with None as its default.
template <typename... P, typename... Arguments>
void bind(py::module_& module, const char* name, int (*launcher)(P...), const Arguments&... arguments) {
    module.def(
        name,
        [=](const Object<P>&... given) {
            Call call{name};
            // Braces: from left to right, so that the device is known when the stream is read.
            std::tuple<P...> values{Parameter<P>::read(call, arguments.name, given)...};
            DeviceGuard guard(call.device);
            const auto error = static_cast<cudaError_t>(std::apply(launcher, values));
            if (error != cudaSuccess) {
                throw std::runtime_error(std::string(name) + ": " + cudaGetErrorName(error) + ": " + cudaGetErrorString(error));
            }
        },
        arguments...);
}

}  // namespace

#define YAIE_DECLARATIONS
#include "launchers.inc"
#undef YAIE_DECLARATIONS

PYBIND11_MODULE(yaie_kernels, module) {
    module.doc() = "The CUDA kernels of YAIE, one function for each launcher of csrc/.";
    py::dict sources;
#define YAIE_BINDINGS
#include "launchers.inc"
#undef YAIE_BINDINGS
    module.attr("SOURCES") = sources;  // file under csrc/ -> hash of what it was built from
    module.attr("ARCHITECTURES") = YAIE_ARCHITECTURES;
}
