// What crosses the border between the binding and the kernels: plain numbers and pointers, the same for every
// instruction set. Shapes: b batch, l length, e channels, n states, k taps. Strides count elements; channels have stride 1.
#pragma once
#include <cstdint>

namespace videomamba {

constexpr int kCheckpointInterval = 32;  // tokens between two states kept for the backward pass

struct View {  // (b, l, channels) of the call's element type; null when absent
    void* data = nullptr;
    int64_t batch_stride = 0;
    int64_t row_stride = 0;
};

struct ScanArgs {
    int64_t batch, length, channels, states;
    const int64_t* lengths;  // (b), how many tokens of each entry are not padding; null when none is padding
    View u, delta, z, B, C;
    const float *A, *D, *delta_bias, *initial_state;  // (e, n), (e), (e), (b, e, n)
    bool softplus, reverse, zoh;
    // forward
    View out;
    View other;          // the other direction's ungated result, added before the gate; may be absent
    float* final_state;  // (b, e, n)
    float* checkpoints;  // (b, ceil(l / interval), n, e), written by forward when not null, read by backward
    // backward
    View grad_out;
    const float* grad_state;                    // (b, e, n)
    View grad_u, grad_delta, grad_z;            // grad_z absent with z
    float *grad_B, *grad_C;                     // (parts, b, l, n): the caller sums the parts
    float *grad_A, *grad_D, *grad_delta_bias;   // (pieces, b, e, n), (pieces, b, e) twice: the caller sums pieces and batch
    float* grad_initial_state;                  // (b, e, n)
    int parts;                                  // channel ranges that are worked on independently
    int pieces;                                 // ranges of the length too; with more than one the work is done almost twice
    int threads;
};

struct ConvArgs {
    int64_t batch, length, channels, taps;
    const int64_t* lengths;     // as above
    View x, initial_state;      // initial_state (b, k - 1, e)
    const float *weight, *bias;  // (e, k), (e)
    bool silu, reverse;
    View out;
    // backward
    View grad_out, grad_x, grad_initial_state;
    float* grad_weight;  // (parts, b, k + 1, e): the last row is the bias; the caller sums parts and batch
    int parts;           // ranges of the length that are worked on independently
    int threads;
};

struct NormArgs {
    int64_t batch, length, channels;
    const int64_t* lengths;  // as above
    View x, out;             // x is fp32 always
    const float* weight;     // (channels)
    float eps;
    int threads;
};

struct Kernels {
    const char* name;
    int lanes;  // fp32 numbers in a vector register
    void (*scan_forward)(const ScanArgs&, bool bf16);
    void (*scan_backward)(const ScanArgs&, bool bf16);
    void (*conv_forward)(const ConvArgs&, bool bf16);
    void (*conv_backward)(const ConvArgs&, bool bf16);
    void (*norm)(const NormArgs&, bool bf16);
};

}  // namespace videomamba
