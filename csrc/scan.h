// Selective scan. Lanes are channels: a group of W channels keeps its states in registers, loops over tokens, and
// broadcasts B[t, n] and C[t, n]. Tokens are walked in blocks that stay in the cache, channel groups inside a block.
// A task owns one batch entry and a range of channel groups, so nothing is shared and every sum has one order.
//
// Where that makes fewer tasks than threads, each is cut into pieces of the walk. The state behind a piece is linear in the
// one before it: a first pass walks every piece from a state of zero and leaves the state at its end and the sum of its
// steps; the second starts from the true state, which crosses the pieces passed with end + exp(A sum) state.
#pragma once

namespace {

constexpr int kBlock = kCheckpointInterval;

// States of a group that advance together: as many as the registers hold beside the temporaries.
constexpr int kHeld = W == 16 ? 16 : 8;
// The same in the backward pass; it divides kHeld.
constexpr int kTogether = 8;

struct Walk {  // steps in walking order -> positions in the sequence
    int64_t length;  // without padding
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
    V steps;  // first pass only: the sum of delta
    int64_t channel;
    int lanes;
};

VM_INLINE int64_t groups_of(const ScanArgs& args) { return (args.channels + W - 1) / W; }
VM_INLINE int padded_states(const ScanArgs& args) { return int((args.states + kHeld - 1) / kHeld) * kHeld; }

struct Ends {  // what the first pass leaves of each piece and group: the state at its end (padded), the sum of its steps
    const ScanArgs& args;
    Scratch memory;

    explicit Ends(const ScanArgs& a) : args(a), memory(a.pieces > 1 ? a.pieces * a.batch * groups_of(a) * size() * W : 0) {}
    int64_t size() const { return padded_states(args) + 1; }
    V* of(int64_t piece, int64_t batch, int64_t group) const {
        return memory.vectors() + ((piece * args.batch + batch) * groups_of(args) + group) * size();
    }
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
    int64_t piece, part, batch;
    Walk walk;
    int64_t first_step, end_step;  // of the piece; it begins with a block
    int64_t first_group, groups;
    int padded;
    Scratch memory, group_memory, rows;
    Group* group;
    float *B, *C;  // (kBlock, padded), the rows of the block in fp32

    Task(const ScanArgs& a, int64_t index, const float* initial)
        : args(a),
          piece(index % a.pieces),
          part(index / a.pieces % a.parts),
          batch(index / a.pieces / a.parts),
          walk{a.lengths ? a.lengths[batch] : a.length, a.reverse},
          first_step(border(piece)),
          end_step(border(piece + 1)),
          first_group(groups_of(a) * part / a.parts),
          groups(groups_of(a) * (part + 1) / a.parts - first_group),
          padded(padded_states(a)),
          memory(groups * kStateVectors * padded * W),
          group_memory(groups * int64_t(sizeof(Group) / 4)),
          rows(2 * kBlock * padded),
          group(reinterpret_cast<Group*>(group_memory.data)),
          B(rows.data),
          C(rows.data + kBlock * padded) {
        for (int64_t i = 0; i < groups; ++i) begin(i, initial);
    }

    static int64_t blocks_of(int64_t length) { return (length + kBlock - 1) / kBlock; }
    int64_t border(int64_t p) const { return smaller(walk.length, blocks_of(walk.length) * p / args.pieces * kBlock); }
    int64_t last_block() const { return (blocks_of(end_step) - 1) * kBlock; }
    int count(int64_t first) const { return int(smaller<int64_t>(kBlock, end_step - first)); }
    bool is_last() const { return piece == args.pieces - 1; }
    int64_t offset(const Group& g) const { return batch * args.channels + g.channel; }  // in (b, e)
    int64_t piece_offset(const Group& g) const { return piece * args.batch * args.channels + offset(g); }

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
        g.grad_D = g.grad_bias = g.steps = splat(0.0f);
        read_states(args.A + g.channel * args.states, args.states, padded, g.lanes, g.A);
        read_states(initial ? initial + offset(g) * args.states : nullptr, args.states, padded, g.lanes, g.state);
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
            for (int n = 0; n < padded; n += W) {
                const int lanes = int(smaller<int64_t>(W, args.states - n));
                store(B + s * padded + n, load(b + n, lanes));
                store(C + s * padded + n, load(c + n, lanes));
            }
        }
    }

    float* checkpoint(int64_t block, int64_t channel) const {  // states are a stride of `channels` apart
        return args.checkpoints + (batch * blocks_of(args.length) + block) * args.states * args.channels + channel;
    }

    void leave(const Ends& ends) const {
        for (int64_t i = 0; i < groups; ++i) {
            V* const to = ends.of(piece, batch, first_group + i);
            for (int n = 0; n < padded; ++n) to[n] = group[i].state[n];
            to[padded] = group[i].steps;
        }
    }

    void cross(const Ends& ends, int64_t passed) {
        for (int64_t i = 0; i < groups; ++i) {
            const V* const end = ends.of(passed, batch, first_group + i);
            Group& g = group[i];
            for (int n = 0; n < padded; ++n) g.state[n] = end[n] + exp2(g.A_log2e[n] * end[padded]) * g.state[n];
        }
    }

    template <class T>
    void clear_padding(const View& rows) const {  // in the task's channels
        const int64_t from = first_group * W, to = smaller(args.channels, (first_group + groups) * W);
        for (int64_t t = walk.length; t < args.length; ++t) std::memset(row<T>(rows, batch, t) + from, 0, (to - from) * sizeof(T));
    }

    void clear_checkpoints() const {  // behind the last one of a shorter entry
        const int64_t from = first_group * W, to = smaller(args.channels, (first_group + groups) * W);
        for (int64_t block = blocks_of(walk.length); block < blocks_of(args.length); ++block)
            for (int64_t n = 0; n < args.states; ++n)
                std::memset(checkpoint(block, from) + n * args.channels, 0, (to - from) * sizeof(float));
    }
};

// phi = (exp(delta A) - 1) / A, the zero-order hold; a is exp(delta A).
VM_INLINE V hold(V delta, V a, const Group& g, int n) {
    V x = delta * g.A[n];
    return select(is_near(x), delta * expm1_ratio_near(x), (a - 1.0f) * g.A_inverse[n]);
}

// --- forward --------------------------------------------------------------------------------------------------------

template <class T, bool ZOH, bool FIRST_PASS>
void scan_forward_task(const ScanArgs& args, int64_t index, const Ends& ends) {
    Task task(args, index, FIRST_PASS ? nullptr : args.initial_state);
    if (FIRST_PASS && task.is_last()) return;
    for (int64_t passed = 0; !FIRST_PASS && passed < task.piece; ++passed) task.cross(ends, passed);
    const int64_t size = task.groups * kBlock;
    Scratch staged(3 * size * W);  // of each group a vector for each step of the block
    V *const us = staged.vectors(), *const deltas = us + size, *const ys = deltas + size;
    for (int64_t first = task.first_step; first < task.end_step; first += kBlock) {
        const int count = task.count(first);
        task.read_block<T>(first, count);
        for (int s = 0; s < count; ++s) {
            const int64_t t = task.walk.at(first + s);
            const T *u = row<T>(args.u, task.batch, t), *delta = row<T>(args.delta, task.batch, t);
            for (int64_t i = 0; i < task.groups; ++i) {
                Group& g = task.group[i];
                const V raw = load(delta + g.channel, g.lanes) + g.bias;
                us[i * kBlock + s] = load(u + g.channel, g.lanes);
                deltas[i * kBlock + s] = args.softplus ? softplus(raw) : raw;
                if (FIRST_PASS) g.steps += deltas[i * kBlock + s];
            }
        }
        for (int64_t i = 0; i < task.groups; ++i) {
            const Group& g = task.group[i];
            if (!FIRST_PASS && args.checkpoints)
                for (int64_t n = 0; n < args.states; ++n)
                    store(task.checkpoint(first / kBlock, g.channel) + n * args.channels, g.state[n], g.lanes);
            const V *const u = us + i * kBlock, *const delta = deltas + i * kBlock;
            V* const y = ys + i * kBlock;
            for (int base = 0; base < task.padded; base += kHeld) {
                V h[kHeld];
#pragma GCC unroll 16
                for (int n = 0; n < kHeld; ++n) h[n] = g.state[base + n];
                for (int s = 0; s < count; ++s) {
                    const float *B = task.B + s * task.padded + base, *C = task.C + s * task.padded + base;
                    const V x = delta[s] * u[s];
                    V even = base == 0 ? g.D * u[s] : y[s], odd = splat(0.0f);
#pragma GCC unroll 16
                    for (int n = 0; n < kHeld; ++n) {
                        const V decay = exp2<Decay>(delta[s] * g.A_log2e[base + n]);
                        const V input = ZOH ? u[s] * hold(delta[s], decay, g, base + n) : x;
                        h[n] = decay * h[n] + input * B[n];
                        if (n % 2) odd += h[n] * C[n];
                        else even += h[n] * C[n];
                    }
                    if (!FIRST_PASS) y[s] = even + odd;
                }
#pragma GCC unroll 16
                for (int n = 0; n < kHeld; ++n) g.state[base + n] = h[n];
            }
        }
        for (int s = 0; !FIRST_PASS && s < count; ++s) {
            const int64_t t = task.walk.at(first + s);
            const T *other = args.other.data ? row<T>(args.other, task.batch, t) : nullptr;
            const T *z = args.z.data ? row<T>(args.z, task.batch, t) : nullptr;
            T* out = row<T>(args.out, task.batch, t);
            for (int64_t i = 0; i < task.groups; ++i) {
                const Group& g = task.group[i];
                V y = ys[i * kBlock + s];
                if (other) y += load(other + g.channel, g.lanes);
                if (z) {
                    const V gate = load(z + g.channel, g.lanes);
                    y *= gate * sigmoid(gate);
                }
                store(out + g.channel, y, g.lanes);
            }
        }
    }
    if (FIRST_PASS) return task.leave(ends);
    if (!task.is_last()) return;
    for (int64_t i = 0; i < task.groups; ++i) {
        const Group& g = task.group[i];
        write_states(args.final_state + task.offset(g) * args.states, args.states, g.lanes, g.state);
    }
    task.clear_padding<T>(args.out);
    if (args.checkpoints) task.clear_checkpoints();
}

// --- backward -------------------------------------------------------------------------------------------------------
// g_t = C_t dy_t + exp(delta_{t+1} A) g_{t+1} runs from the last step to the first. The states of a block are computed
// again from its checkpoint, few states at a time, so that decays and states of a block stay in the first-level cache.

struct StagedBlock {  // of each group a vector for each step of the block
    Scratch memory;
    V *u, *delta, *slope, *dy, *gate_slope;  // slope: d softplus; gate_slope: d out / d z = y gate_slope
    V *y, *du, *ddelta;

    explicit StagedBlock(int64_t groups) : memory(8 * groups * kBlock * W) {
        V* next = memory.vectors();
        V** const fields[] = {&u, &delta, &slope, &dy, &gate_slope, &y, &du, &ddelta};
        for (V** field : fields) {
            *field = next;
            next += groups * kBlock;
        }
    }
};

template <class T>
void stage_backward(const ScanArgs& args, const Task& task, int64_t first, int count, const StagedBlock& to) {
    for (int s = 0; s < count; ++s) {
        const int64_t t = task.walk.at(first + s);
        const T *u = row<T>(args.u, task.batch, t), *delta = row<T>(args.delta, task.batch, t);
        const T *grad_out = row<T>(args.grad_out, task.batch, t), *z = args.z.data ? row<T>(args.z, task.batch, t) : nullptr;
        for (int64_t i = 0; i < task.groups; ++i) {
            Group& g = task.group[i];
            const int64_t at = i * kBlock + s;
            const V raw = load(delta + g.channel, g.lanes) + g.bias;
            V dy = load(grad_out + g.channel, g.lanes);
            to.u[at] = load(u + g.channel, g.lanes);
            to.delta[at] = args.softplus ? softplus(raw, &to.slope[at]) : raw;
            if (z) {
                const V x = load(z + g.channel, g.lanes), gate = sigmoid(x);
                to.gate_slope[at] = dy * gate * (1.0f + x * (1.0f - gate));
                dy *= x * gate;
            }
            to.dy[at] = dy;
            g.grad_D += dy * to.u[at];
        }
    }
}

template <class T>
void write_backward(const ScanArgs& args, const Task& task, int64_t first, int count, const StagedBlock& from) {
    for (int s = 0; s < count; ++s) {
        const int64_t t = task.walk.at(first + s);
        T *grad_u = row<T>(args.grad_u, task.batch, t), *grad_delta = row<T>(args.grad_delta, task.batch, t);
        T* grad_z = args.z.data ? row<T>(args.grad_z, task.batch, t) : nullptr;
        for (int64_t i = 0; i < task.groups; ++i) {
            Group& g = task.group[i];
            const int64_t at = i * kBlock + s;
            const V ddelta = args.softplus ? from.ddelta[at] * from.slope[at] : from.ddelta[at];
            g.grad_bias += ddelta;
            store(grad_u + g.channel, from.du[at], g.lanes);
            store(grad_delta + g.channel, ddelta, g.lanes);
            if (grad_z) store(grad_z + g.channel, from.gate_slope[at] * from.y[at], g.lanes);
        }
    }
}

// The adjoint alone, which needs no states: it crosses the pieces from the last to the first.
template <class T>
void scan_backward_first_pass(const ScanArgs& args, int64_t index, const Ends& ends) {
    Task task(args, index, nullptr);
    if (task.piece == 0) return;
    const StagedBlock staged(task.groups);
    for (int64_t first = task.last_block(); first >= task.first_step; first -= kBlock) {
        const int count = task.count(first);
        task.read_block<T>(first, count);
        stage_backward<T>(args, task, first, count, staged);
        for (int64_t i = 0; i < task.groups; ++i) {
            Group& g = task.group[i];
            const V *const delta = staged.delta + i * kBlock, *const dy = staged.dy + i * kBlock;
            for (int s = 0; s < count; ++s) g.steps += delta[s];
            for (int base = 0; base < task.padded; base += kTogether) {
                V carry[kTogether];
#pragma GCC unroll 8
                for (int n = 0; n < kTogether; ++n) carry[n] = g.state[base + n];
                for (int s = count - 1; s >= 0; --s) {
                    const float* C = task.C + s * task.padded + base;
#pragma GCC unroll 8
                    for (int n = 0; n < kTogether; ++n)
                        carry[n] = (carry[n] + dy[s] * C[n]) * exp2<Decay>(delta[s] * g.A_log2e[base + n]);
                }
#pragma GCC unroll 8
                for (int n = 0; n < kTogether; ++n) g.state[base + n] = carry[n];
            }
        }
    }
    task.leave(ends);
}

template <class T, bool ZOH>
void scan_backward_task(const ScanArgs& args, int64_t index, const Ends& ends) {
    Task task(args, index, args.grad_state);
    for (int64_t passed = args.pieces - 1; passed > task.piece; --passed) task.cross(ends, passed);
    const int padded = task.padded;
    const StagedBlock staged(task.groups);
    Scratch sums(2 * kBlock * padded);  // over the channels of the task
    float *const dB = sums.data, *const dC = dB + kBlock * padded;
    const int64_t row_of_sums = (task.part * args.batch + task.batch) * args.length * args.states;
    V h[(kBlock + 1) * kTogether], a[kBlock * kTogether];

    for (int64_t first = task.last_block(); first >= task.first_step; first -= kBlock) {
        const int count = task.count(first);
        task.read_block<T>(first, count);
        stage_backward<T>(args, task, first, count, staged);
        for (int i = 0; i < 2 * kBlock * padded; ++i) dB[i] = 0.0f;
        for (int64_t i = 0; i < task.groups; ++i) {
            Group& g = task.group[i];
            const V *const u = staged.u + i * kBlock, *const delta = staged.delta + i * kBlock, *const dy = staged.dy + i * kBlock;
            V *const y = staged.y + i * kBlock, *const du = staged.du + i * kBlock, *const ddelta = staged.ddelta + i * kBlock;
            const float* const kept = task.checkpoint(first / kBlock, g.channel);
            for (int base = 0; base < padded; base += kTogether) {
                V held[kTogether];
#pragma GCC unroll 8
                for (int n = 0; n < kTogether; ++n)
                    h[n] = held[n] = base + n < args.states ? load(kept + (base + n) * args.channels, g.lanes) : splat(0.0f);
                for (int s = 0; s < count; ++s) {
                    const float *B = task.B + s * padded + base, *C = task.C + s * padded + base;
                    const V x = delta[s] * u[s];
                    V sum_y = base == 0 ? g.D * u[s] : y[s], to_C[kTogether];
#pragma GCC unroll 8
                    for (int n = 0; n < kTogether; ++n) {
                        const V decay = exp2<Decay>(delta[s] * g.A_log2e[base + n]);
                        const V input = ZOH ? u[s] * hold(delta[s], decay, g, base + n) : x;
                        held[n] = decay * held[n] + input * B[n];
                        sum_y += held[n] * C[n];
                        to_C[n] = dy[s] * held[n];
                        a[s * kTogether + n] = decay;
                        h[(s + 1) * kTogether + n] = held[n];
                    }
                    y[s] = sum_y;
                    add_sums(dC + s * padded + base, to_C);
                }
                V carry[kTogether], grad_A[kTogether];
#pragma GCC unroll 8
                for (int n = 0; n < kTogether; ++n) carry[n] = g.state[base + n], grad_A[n] = g.grad_A[base + n];
                for (int s = count - 1; s >= 0; --s) {
                    const float *B = task.B + s * padded + base, *C = task.C + s * padded + base;
                    const V x = delta[s] * u[s];
                    V sum_B = splat(0.0f), sum_A = splat(0.0f), sum_u = splat(0.0f), to_B[kTogether];
#pragma GCC unroll 8
                    for (int n = 0; n < kTogether; ++n) {
                        const V decay = a[s * kTogether + n];
                        const V adjoint = carry[n] + dy[s] * C[n];
                        carry[n] = adjoint * decay;
                        const V homogeneous = carry[n] * h[s * kTogether + n];
                        sum_A += homogeneous * g.A[base + n];
                        grad_A[n] += homogeneous * delta[s];
                        if (ZOH) {
                            const V phi = hold(delta[s], decay, g, base + n);
                            const V exponent = delta[s] * g.A[base + n], gB = adjoint * B[n];
                            const V slope = select(is_near(exponent), delta[s] * delta[s] * expm1_ratio_slope_near(exponent),
                                                   (delta[s] * decay - phi) * g.A_inverse[base + n]);
                            grad_A[n] += u[s] * gB * slope;
                            to_B[n] = adjoint * u[s] * phi;
                            sum_B += gB * decay;  // d phi / d delta
                            sum_u += gB * phi;
                        } else {
                            to_B[n] = adjoint * x;
                            sum_B += adjoint * B[n];
                        }
                    }
                    sum_u = ZOH ? sum_u : delta[s] * sum_B;
                    sum_A += u[s] * sum_B;
                    du[s] = sum_u + (base == 0 ? g.D * dy[s] : du[s]);
                    ddelta[s] = base == 0 ? sum_A : ddelta[s] + sum_A;
                    add_sums(dB + s * padded + base, to_B);
                }
#pragma GCC unroll 8
                for (int n = 0; n < kTogether; ++n) g.state[base + n] = carry[n], g.grad_A[base + n] = grad_A[n];
            }
        }
        write_backward<T>(args, task, first, count, staged);
        for (int s = 0; s < count; ++s) {
            const int64_t at = row_of_sums + task.walk.at(first + s) * args.states;
            for (int64_t n = 0; n < args.states; ++n) {
                args.grad_B[at + n] = dB[s * padded + n];
                args.grad_C[at + n] = dC[s * padded + n];
            }
        }
    }
    for (int64_t i = 0; i < task.groups; ++i) {
        const Group& g = task.group[i];
        write_states(args.grad_A + task.piece_offset(g) * args.states, args.states, g.lanes, g.grad_A);
        if (args.grad_D) store(args.grad_D + task.piece_offset(g), g.grad_D, g.lanes);
        if (args.grad_delta_bias) store(args.grad_delta_bias + task.piece_offset(g), g.grad_bias, g.lanes);
        if (args.grad_initial_state && task.piece == 0)
            write_states(args.grad_initial_state + task.offset(g) * args.states, args.states, g.lanes, g.state);
    }
    if (!task.is_last()) return;
    task.clear_padding<T>(args.grad_u);
    task.clear_padding<T>(args.grad_delta);
    if (args.z.data) task.clear_padding<T>(args.grad_z);
    const int64_t end = row_of_sums + task.walk.length * args.states, padding = (args.length - task.walk.length) * args.states;
    std::memset(args.grad_B + end, 0, padding * sizeof(float));
    std::memset(args.grad_C + end, 0, padding * sizeof(float));
}

using ScanTask = void (*)(const ScanArgs&, int64_t, const Ends&);

void run_tasks(const ScanArgs& args, ScanTask work, const Ends& ends) {
    const int64_t tasks = args.batch * args.parts * args.pieces;
#pragma omp parallel for num_threads(args.threads) schedule(static) if (args.threads > 1 && tasks > 1)
    for (int64_t index = 0; index < tasks; ++index) work(args, index, ends);
}

void run_scan(const ScanArgs& args, ScanTask first_pass, ScanTask work) {
    const Ends ends(args);
    if (args.pieces > 1) run_tasks(args, first_pass, ends);
    run_tasks(args, work, ends);
}

template <class T, bool ZOH>
void scan_forward_as(const ScanArgs& args) {
    run_scan(args, scan_forward_task<T, ZOH, true>, scan_forward_task<T, ZOH, false>);
}

template <class T, bool ZOH>
void scan_backward_as(const ScanArgs& args) {
    run_scan(args, scan_backward_first_pass<T>, scan_backward_task<T, ZOH>);
}

void scan_forward(const ScanArgs& args, bool is_bf16) {
    if (is_bf16) args.zoh ? scan_forward_as<bf16, true>(args) : scan_forward_as<bf16, false>(args);
    else args.zoh ? scan_forward_as<float, true>(args) : scan_forward_as<float, false>(args);
}

void scan_backward(const ScanArgs& args, bool is_bf16) {
    if (is_bf16) args.zoh ? scan_backward_as<bf16, true>(args) : scan_backward_as<bf16, false>(args);
    else args.zoh ? scan_backward_as<float, true>(args) : scan_backward_as<float, false>(args);
}

}  // namespace
