// The Python binding: picks the instruction set at run time and passes pointers, shapes and strides on. It knows
// nothing of PyTorch, so one binary serves every version of it. ops/native.py is the only caller and checks everything.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>

#include "api.h"

namespace nb = nanobind;

namespace videomamba {
#if defined(VM_ARM64)
extern const Kernels kernels_neon;
#else
extern const Kernels kernels_generic;
#endif
#if defined(VM_X86)
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;
#endif

namespace {

std::vector<const Kernels*> supported() {  // best first
    std::vector<const Kernels*> found;
#if defined(VM_X86)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        found.push_back(&kernels_avx512);
    if (avx2) found.push_back(&kernels_avx2);
#endif
#if defined(VM_ARM64)
    found.push_back(&kernels_neon);
#else
    found.push_back(&kernels_generic);
#endif
    return found;
}

const Kernels* active = supported().front();

void set_isa(const std::string& name) {
    for (const Kernels* kernels : supported())
        if (name == kernels->name) {
            active = kernels;
            return;
        }
    throw std::invalid_argument("this processor or build has no kernels for " + name);
}

using Rows = std::tuple<uintptr_t, int64_t, int64_t>;  // pointer (0: absent), stride of the batch, stride of a row

View view(const Rows& rows) { return {reinterpret_cast<void*>(std::get<0>(rows)), std::get<1>(rows), std::get<2>(rows)}; }
float* floats(uintptr_t pointer) { return reinterpret_cast<float*>(pointer); }
const int64_t* integers(uintptr_t pointer) { return reinterpret_cast<const int64_t*>(pointer); }

}  // namespace
}  // namespace videomamba

using namespace videomamba;

NB_MODULE(_native, m) {
    m.doc() = "CPU kernels of videomamba.ops; see ops/native.py";
    m.def("isas", [] {
        std::vector<std::string> names;
        for (const Kernels* kernels : supported()) names.push_back(kernels->name);
        return names;
    });
    m.def("isa", [] { return std::string(active->name); });
    m.def("lanes", [] { return active->lanes; });
    m.def("set_isa", &set_isa);
    m.attr("CHECKPOINT_INTERVAL") = kCheckpointInterval;
#if defined(_OPENMP)
    m.attr("OPENMP") = true;
#else
    m.attr("OPENMP") = false;
#endif

    using Shape = std::tuple<int64_t, int64_t, int64_t, int64_t>;
    using Flags = std::tuple<bool, bool, bool>;
    using Shares = std::tuple<int, int, int>;  // parts, pieces, threads
    m.def(
        "scan_forward",
        [](Shape shape, Flags flags, bool bf16, Shares shares, uintptr_t lengths, Rows u, Rows delta, uintptr_t A, Rows B, Rows C,
           uintptr_t D, Rows z, uintptr_t delta_bias, uintptr_t initial_state, Rows out, Rows other, uintptr_t final_state,
           uintptr_t checkpoints) {
            ScanArgs a{};
            std::tie(a.batch, a.length, a.channels, a.states) = shape;
            std::tie(a.softplus, a.reverse, a.zoh) = flags;
            std::tie(a.parts, a.pieces, a.threads) = shares;
            a.lengths = integers(lengths);
            a.u = view(u), a.delta = view(delta), a.B = view(B), a.C = view(C), a.z = view(z), a.out = view(out);
            a.other = view(other);
            a.A = floats(A), a.D = floats(D), a.delta_bias = floats(delta_bias), a.initial_state = floats(initial_state);
            a.final_state = floats(final_state), a.checkpoints = floats(checkpoints);
            nb::gil_scoped_release release;
            active->scan_forward(a, bf16);
        });
    m.def(
        "scan_backward",
        [](Shape shape, Flags flags, bool bf16, Shares shares, uintptr_t lengths, Rows u, Rows delta, uintptr_t A, Rows B, Rows C,
           uintptr_t D, Rows z, uintptr_t delta_bias, uintptr_t checkpoints, Rows grad_out, uintptr_t grad_state, Rows grad_u,
           Rows grad_delta, uintptr_t grad_A, uintptr_t grad_B, uintptr_t grad_C, uintptr_t grad_D, Rows grad_z, uintptr_t grad_delta_bias,
           uintptr_t grad_initial_state) {
            ScanArgs a{};
            std::tie(a.batch, a.length, a.channels, a.states) = shape;
            std::tie(a.softplus, a.reverse, a.zoh) = flags;
            std::tie(a.parts, a.pieces, a.threads) = shares;
            a.lengths = integers(lengths);
            a.u = view(u), a.delta = view(delta), a.B = view(B), a.C = view(C), a.z = view(z);
            a.A = floats(A), a.D = floats(D), a.delta_bias = floats(delta_bias), a.checkpoints = floats(checkpoints);
            a.grad_out = view(grad_out), a.grad_state = floats(grad_state);
            a.grad_u = view(grad_u), a.grad_delta = view(grad_delta), a.grad_z = view(grad_z);
            a.grad_A = floats(grad_A), a.grad_B = floats(grad_B), a.grad_C = floats(grad_C), a.grad_D = floats(grad_D);
            a.grad_delta_bias = floats(grad_delta_bias), a.grad_initial_state = floats(grad_initial_state);
            nb::gil_scoped_release release;
            active->scan_backward(a, bf16);
        });
    using ConvFlags = std::tuple<bool, bool>;
    m.def(
        "conv_forward",
        [](Shape shape, ConvFlags flags, bool bf16, int parts, int threads, uintptr_t lengths, Rows x, uintptr_t weight,
           uintptr_t bias, Rows initial_state, Rows out) {
            ConvArgs a{};
            std::tie(a.batch, a.length, a.channels, a.taps) = shape;
            std::tie(a.silu, a.reverse) = flags;
            a.parts = parts, a.threads = threads, a.lengths = integers(lengths);
            a.x = view(x), a.initial_state = view(initial_state), a.weight = floats(weight), a.bias = floats(bias);
            a.out = view(out);
            nb::gil_scoped_release release;
            active->conv_forward(a, bf16);
        });
    m.def(
        "conv_backward",
        [](Shape shape, ConvFlags flags, bool bf16, int parts, int threads, uintptr_t lengths, Rows x, uintptr_t weight,
           uintptr_t bias, Rows initial_state, Rows grad_out, Rows grad_x, uintptr_t grad_weight, Rows grad_initial_state) {
            ConvArgs a{};
            std::tie(a.batch, a.length, a.channels, a.taps) = shape;
            std::tie(a.silu, a.reverse) = flags;
            a.parts = parts, a.threads = threads, a.lengths = integers(lengths);
            a.x = view(x), a.initial_state = view(initial_state), a.weight = floats(weight), a.bias = floats(bias);
            a.grad_out = view(grad_out), a.grad_x = view(grad_x), a.grad_initial_state = view(grad_initial_state);
            a.grad_weight = floats(grad_weight);
            nb::gil_scoped_release release;
            active->conv_backward(a, bf16);
        });
    m.def("norm", [](std::tuple<int64_t, int64_t, int64_t> shape, bool bf16, int threads, uintptr_t lengths, Rows x, uintptr_t weight,
                     float eps, Rows out) {
        NormArgs a{};
        std::tie(a.batch, a.length, a.channels) = shape;
        a.threads = threads, a.lengths = integers(lengths), a.eps = eps;
        a.x = view(x), a.out = view(out), a.weight = floats(weight);
        nb::gil_scoped_release release;
        active->norm(a, bf16);
    });
}
