// Selective scan. Lanes are channels: a group of W channels keeps its states in registers, loops over tokens, and
// broadcasts B[t, n] and C[t, n]. Tokens are walked in blocks that stay in the cache, channel groups inside a block.
// A task owns one batch entry and a range of channel groups, so nothing is shared and every sum has one order.
#pragma once

namespace {

constexpr int kBlock = kCheckpointInterval;

// States of a group that advance together: as many as the registers hold beside the temporaries.
constexpr int kHeld = W == 16 ? 16 : 8;

struct Walk {  // steps in walking order -> positions in the sequence
    int64_t length;
    bool reverse;
    VM_INLINE int64_t at(int64_t step) const { return reverse ? length - 1 - step : step; }
};

// W channels and what belongs to them. The number of states is padded to a multiple of kHeld with A = B = C = 0:
// a padded state stays 0 and adds nothing.
struct Group {
    V *A, *A_log2e, *A_inverse;  // one vector per state
    V* state;                    // h before the next step; in the backward pass exp(delta_{t+1} A) g_{t+1}
    V* grad_A;                   // backward only
    V D, bias, grad_D, grad_bias;
    int64_t channel;
    int lanes;
};

VM_INLINE void read_states(const float* from, int64_t states, int padded, int lanes, V* to) {  // (lanes, n) -> n vectors
    for (int n = 0; n < padded; ++n) {
        float lane[W] = {};
        if (from && n < states)
            for (int i = 0; i < lanes; ++i) lane[i] = from[i * states + n];
        to[n] = load(lane);
    }
}

VM_INLINE void write_states(float* to, int64_t states, int lanes, const V* from) {
    for (int64_t n = 0; n < states; ++n) {
        float lane[W];
        store(lane, from[n]);
        for (int i = 0; i < lanes; ++i) to[i * states + n] = lane[i];
    }
}

struct Task {
    static constexpr int kStateVectors = 5;

    const ScanArgs& args;
    Walk walk;
    int64_t batch, first_group, groups;
    int padded;
    Scratch memory, group_memory, rows;
    Group* group;
    float *B, *C;  // (kBlock, padded), the rows of the block in fp32

    Task(const ScanArgs& a, int64_t index, const float* initial)
        : args(a),
          walk{a.length, a.reverse},
          batch(index / a.parts),
          first_group(all_groups() * (index % a.parts) / a.parts),
          groups(all_groups() * (index % a.parts + 1) / a.parts - first_group),
          padded(int((a.states + kHeld - 1) / kHeld) * kHeld),
          memory(groups * kStateVectors * padded * W),
          group_memory(groups * int64_t(sizeof(Group) / 4)),
          rows(2 * kBlock * padded),
          group(reinterpret_cast<Group*>(group_memory.data)),
          B(rows.data),
          C(rows.data + kBlock * padded) {
        for (int64_t i = 0; i < groups; ++i) begin(i, initial);
    }

    int64_t all_groups() const { return (args.channels + W - 1) / W; }
    int64_t blocks() const { return (args.length + kBlock - 1) / kBlock; }
    int64_t offset(const Group& g) const { return (batch * args.channels + g.channel) * args.states; }

    void begin(int64_t i, const float* initial) {
        V* base = memory.vectors() + i * kStateVectors * padded;
        Group& g = group[i];
        g.A = base;
        g.A_log2e = base + padded;
        g.A_inverse = base + 2 * padded;
        g.state = base + 3 * padded;
        g.grad_A = base + 4 * padded;
        g.channel = (first_group + i) * W;
        g.lanes = int(smaller<int64_t>(W, args.channels - g.channel));
        g.D = args.D ? load(args.D + g.channel, g.lanes) : splat(0.0f);
        g.bias = args.delta_bias ? load(args.delta_bias + g.channel, g.lanes) : splat(0.0f);
        g.grad_D = g.grad_bias = splat(0.0f);
        read_states(args.A + g.channel * args.states, args.states, padded, g.lanes, g.A);
        read_states(initial ? initial + offset(g) : nullptr, args.states, padded, g.lanes, g.state);
        for (int n = 0; n < padded; ++n) {
            g.A_log2e[n] = g.A[n] * kLog2e;
            g.A_inverse[n] = 1.0f / g.A[n];
            g.grad_A[n] = splat(0.0f);
        }
    }

    template <class T>
    void read_block(int64_t first, int count) {
        for (int s = 0; s < count; ++s) {
            const T *b = row<T>(args.B, batch, walk.at(first + s)), *c = row<T>(args.C, batch, walk.at(first + s));
            for (int64_t n = 0; n < padded; ++n) {
                B[s * padded + n] = n < args.states ? to_float(b[n]) : 0.0f;
                C[s * padded + n] = n < args.states ? to_float(c[n]) : 0.0f;
            }
        }
    }

    float* checkpoint(int64_t block, const Group& g) const {  // states are a stride of `channels` apart
        return args.checkpoints + (batch * blocks() + block) * args.states * args.channels + g.channel;
    }

    template <class T>
    V read(const View& view, int64_t t, const Group& g) const {
        return load(row<T>(view, batch, t) + g.channel, g.lanes);
    }
    // Rows are far apart and a group touches one cache line of each, which the processor's own prefetcher does not follow:
    // while group i of a block is worked on, its successor's lines are fetched.
    template <class T>
    void prefetch_next(const View& view, int64_t step, int count, int64_t i) const {
        if (!view.data) return;
        const bool inside = i + 1 < groups;
        const int64_t next = inside ? step : smaller(step + count, args.length - 1);
        __builtin_prefetch(row<T>(view, batch, walk.at(next)) + (inside ? group[i + 1].channel : group[0].channel));
    }
    template <class T>
    void write(const View& view, int64_t t, const Group& g, V value) const {
        store(row<T>(view, batch, t) + g.channel, value, g.lanes);
    }
};

// phi = (exp(delta A) - 1) / A, the zero-order hold; a is exp(delta A).
VM_INLINE V hold(V delta, V a, const Group& g, int n) {
    V x = delta * g.A[n];
    return select(is_near(x), delta * expm1_ratio_near(x), (a - 1.0f) * g.A_inverse[n]);
}

// --- forward --------------------------------------------------------------------------------------------------------

template <class T, bool ZOH>
void scan_forward_task(const ScanArgs& args, int64_t index) {
    Task task(args, index, args.initial_state);
    const View* const touched[] = {&args.u, &args.delta, &args.z, &args.other, &args.out};
    V delta[kBlock], x[kBlock], y[kBlock];
    for (int64_t first = 0; first < args.length; first += kBlock) {
        const int count = int(smaller<int64_t>(kBlock, args.length - first));
        task.read_block<T>(first, count);
        for (int64_t i = 0; i < task.groups; ++i) {
            const Group& g = task.group[i];
            if (args.checkpoints)
                for (int64_t n = 0; n < args.states; ++n)
                    store(task.checkpoint(first / kBlock, g) + n * args.channels, g.state[n], g.lanes);
            for (int s = 0; s < count; ++s) {
                const int64_t t = task.walk.at(first + s);
                V u = task.read<T>(args.u, t, g), raw = task.read<T>(args.delta, t, g) + g.bias;
                for (const View* view : touched) task.prefetch_next<T>(*view, first + s, count, i);
                delta[s] = args.softplus ? softplus(raw) : raw;
                x[s] = ZOH ? u : delta[s] * u;
                y[s] = g.D * u;
            }
            for (int base = 0; base < task.padded; base += kHeld) {
                V h[kHeld];
#pragma GCC unroll 16
                for (int n = 0; n < kHeld; ++n) h[n] = g.state[base + n];
                for (int s = 0; s < count; ++s) {
                    const float *B = task.B + s * task.padded + base, *C = task.C + s * task.padded + base;
                    V even = y[s], odd = splat(0.0f);
#pragma GCC unroll 16
                    for (int n = 0; n < kHeld; ++n) {
                        V a = exp2(delta[s] * g.A_log2e[base + n]);
                        V input = ZOH ? x[s] * hold(delta[s], a, g, base + n) : x[s];
                        h[n] = a * h[n] + input * B[n];
                        if (n % 2) odd += h[n] * C[n];
                        else even += h[n] * C[n];
                    }
                    y[s] = even + odd;
                }
#pragma GCC unroll 16
                for (int n = 0; n < kHeld; ++n) g.state[base + n] = h[n];
            }
            for (int s = 0; s < count; ++s) {
                const int64_t t = task.walk.at(first + s);
                if (args.other.data) y[s] += task.read<T>(args.other, t, g);
                if (args.z.data) {
                    V z = task.read<T>(args.z, t, g);
                    y[s] *= z * sigmoid(z);
                }
                task.write<T>(args.out, t, g, y[s]);
            }
        }
    }
    for (int64_t i = 0; i < task.groups; ++i)
        write_states(args.final_state + task.offset(task.group[i]), args.states, task.group[i].lanes, task.group[i].state);
}

// --- backward -------------------------------------------------------------------------------------------------------
// g_t = C_t dy_t + exp(delta_{t+1} A) g_{t+1} runs from the last step to the first. The states of a block are computed
// again from its checkpoint; dB and dC are summed over the channels of the task as vectors, and over lanes once a block.

template <class T, bool ZOH>
void scan_backward_task(const ScanArgs& args, int64_t index) {
    Task task(args, index, args.grad_state);
    const int padded = task.padded;
    const int64_t part = index % args.parts;
    Scratch states((kBlock + 1) * padded * W), decays(kBlock * padded * W), sums(2 * kBlock * padded * W);
    V *h = states.vectors(), *a = decays.vectors(), *dB = sums.vectors(), *dC = sums.vectors() + kBlock * padded;
    V u[kBlock], raw[kBlock], delta[kBlock], dy[kBlock], du[kBlock], ddelta[kBlock], y[kBlock];

    for (int64_t first = (task.blocks() - 1) * kBlock; first >= 0; first -= kBlock) {
        const int count = int(smaller<int64_t>(kBlock, args.length - first));
        task.read_block<T>(first, count);
        for (int i = 0; i < 2 * kBlock * padded; ++i) dB[i] = splat(0.0f);
        for (int64_t i = 0; i < task.groups; ++i) {
            Group& g = task.group[i];
            for (int n = 0; n < padded; ++n)
                h[n] = n < args.states ? load(task.checkpoint(first / kBlock, g) + n * args.channels, g.lanes) : splat(0.0f);
            for (int s = 0; s < count; ++s) {
                const int64_t t = task.walk.at(first + s);
                u[s] = task.read<T>(args.u, t, g);
                raw[s] = task.read<T>(args.delta, t, g) + g.bias;
                delta[s] = args.softplus ? softplus(raw[s]) : raw[s];
                y[s] = g.D * u[s];
            }
            for (int base = 0; base < padded; base += kHeld) {
                V held[kHeld];
#pragma GCC unroll 16
                for (int n = 0; n < kHeld; ++n) held[n] = h[base + n];
                for (int s = 0; s < count; ++s) {
                    const float *B = task.B + s * padded + base, *C = task.C + s * padded + base;
                    const V x = delta[s] * u[s];
                    V sum_y = y[s];
#pragma GCC unroll 16
                    for (int n = 0; n < kHeld; ++n) {
                        V decay = exp2(delta[s] * g.A_log2e[base + n]);
                        V input = ZOH ? u[s] * hold(delta[s], decay, g, base + n) : x;
                        held[n] = decay * held[n] + input * B[n];
                        sum_y += held[n] * C[n];
                        a[s * padded + base + n] = decay;
                        h[(s + 1) * padded + base + n] = held[n];
                    }
                    y[s] = sum_y;
                }
            }
            for (int s = 0; s < count; ++s) {
                const int64_t t = task.walk.at(first + s);
                dy[s] = task.read<T>(args.grad_out, t, g);
                if (args.z.data) {
                    V z = task.read<T>(args.z, t, g), gate = sigmoid(z);
                    task.write<T>(args.grad_z, t, g, dy[s] * y[s] * gate * (1.0f + z * (1.0f - gate)));
                    dy[s] *= z * gate;
                }
                g.grad_D += dy[s] * u[s];
                du[s] = g.D * dy[s];
                ddelta[s] = splat(0.0f);
            }
            for (int base = 0; base < padded; base += kHeld) {
                V carry[kHeld];
#pragma GCC unroll 16
                for (int n = 0; n < kHeld; ++n) carry[n] = g.state[base + n];
                for (int s = count - 1; s >= 0; --s) {
                    const float *B = task.B + s * padded + base, *C = task.C + s * padded + base;
                    const int at = s * padded + base;
                    const V x = delta[s] * u[s];
                    V sum_B = splat(0.0f), sum_A = splat(0.0f), sum_u = splat(0.0f);
#pragma GCC unroll 16
                    for (int n = 0; n < kHeld; ++n) {
                        const V decay = a[at + n];
                        const V adjoint = carry[n] + dy[s] * C[n];
                        carry[n] = adjoint * decay;
                        const V homogeneous = carry[n] * h[at + n];
                        sum_A += homogeneous * g.A[base + n];
                        dC[at + n] += dy[s] * h[at + padded + n];
                        if (ZOH) {
                            const V phi = hold(delta[s], decay, g, base + n);
                            const V exponent = delta[s] * g.A[base + n], gB = adjoint * B[n];
                            const V slope = select(is_near(exponent), delta[s] * delta[s] * expm1_ratio_slope_near(exponent),
                                                   (delta[s] * decay - phi) * g.A_inverse[base + n]);
                            g.grad_A[base + n] += homogeneous * delta[s] + u[s] * gB * slope;
                            dB[at + n] += adjoint * u[s] * phi;
                            sum_B += gB * decay;  // d phi / d delta
                            sum_u += gB * phi;
                        } else {
                            g.grad_A[base + n] += homogeneous * delta[s];
                            dB[at + n] += adjoint * x;
                            sum_B += adjoint * B[n];
                        }
                    }
                    du[s] += ZOH ? sum_u : delta[s] * sum_B;
                    ddelta[s] += u[s] * sum_B + sum_A;
                }
#pragma GCC unroll 16
                for (int n = 0; n < kHeld; ++n) g.state[base + n] = carry[n];
            }
            for (int s = 0; s < count; ++s) {
                const int64_t t = task.walk.at(first + s);
                if (args.softplus) ddelta[s] *= select(raw[s] > 20.0f, splat(1.0f), sigmoid(raw[s]));
                g.grad_bias += ddelta[s];
                task.write<T>(args.grad_u, t, g, du[s]);
                task.write<T>(args.grad_delta, t, g, ddelta[s]);
            }
        }
        for (int s = 0; s < count; ++s) {
            const int64_t at = ((part * args.batch + task.batch) * args.length + task.walk.at(first + s)) * args.states;
            for (int64_t n = 0; n < args.states; ++n) {
                args.grad_B[at + n] = sum(dB[s * padded + n]);
                args.grad_C[at + n] = sum(dC[s * padded + n]);
            }
        }
    }
    for (int64_t i = 0; i < task.groups; ++i) {
        const Group& g = task.group[i];
        write_states(args.grad_A + task.offset(g), args.states, g.lanes, g.grad_A);
        if (args.grad_initial_state) write_states(args.grad_initial_state + task.offset(g), args.states, g.lanes, g.state);
        if (args.grad_D) store(args.grad_D + task.batch * args.channels + g.channel, g.grad_D, g.lanes);
        if (args.grad_delta_bias) store(args.grad_delta_bias + task.batch * args.channels + g.channel, g.grad_bias, g.lanes);
    }
}

using ScanTask = void (*)(const ScanArgs&, int64_t);

void run_scan(const ScanArgs& args, ScanTask work) {
    const int64_t tasks = args.batch * args.parts;
#pragma omp parallel for num_threads(args.threads) schedule(static) if (args.threads > 1 && tasks > 1)
    for (int64_t index = 0; index < tasks; ++index) work(args, index);
}

void scan_forward(const ScanArgs& args, bool is_bf16) {
    if (is_bf16) run_scan(args, args.zoh ? scan_forward_task<bf16, true> : scan_forward_task<bf16, false>);
    else run_scan(args, args.zoh ? scan_forward_task<float, true> : scan_forward_task<float, false>);
}

void scan_backward(const ScanArgs& args, bool is_bf16) {
    if (is_bf16) run_scan(args, args.zoh ? scan_backward_task<bf16, true> : scan_backward_task<bf16, false>);
    else run_scan(args, args.zoh ? scan_backward_task<float, true> : scan_backward_task<float, false>);
}

}  // namespace
