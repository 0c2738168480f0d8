// Causal depthwise convolution, channels last. In walking order o_s = bias + sum_w W_w x_{s - (k-1) + w}; the k - 1
// tokens before the first come from the initial state or are zero. A task owns a batch entry and a range of steps.
#pragma once

namespace {

struct ConvTask {
    const ConvArgs& args;
    int64_t batch, part;
    int64_t tokens;    // of the entry; the walk ends, or begins where it is reversed, before the padding
    Scratch memory;    // taps first: (k, e), then bias (e), then a row of zeros (e)
    Scratch pointers;  // k, for ConvInputs
    float *weight, *bias;
    const float* zeros;

    ConvTask(const ConvArgs& a, int64_t index)
        : args(a),
          batch(index / a.parts),
          part(index % a.parts),
          tokens(a.lengths ? a.lengths[batch] : a.length),
          memory((a.taps + 2) * a.channels),
          pointers(a.taps * int64_t(sizeof(void*) / sizeof(float))),
          weight(memory.data),
          bias(weight + a.taps * a.channels),
          zeros(bias + a.channels) {
        for (int64_t e = 0; e < args.channels; ++e) {
            for (int64_t w = 0; w < args.taps; ++w) weight[w * args.channels + e] = args.weight[e * args.taps + w];
            bias[e] = args.bias ? args.bias[e] : 0.0f;
            bias[args.channels + e] = 0.0f;
        }
    }

    // Where part p of [first, last) begins.
    int64_t border(int64_t first, int64_t last, int64_t p) const { return first + (last - first) * p / args.parts; }
    int64_t at(int64_t step) const { return args.reverse ? tokens - 1 - step : step; }
    int64_t outside(int64_t step) const {  // row of the initial state, kept in sequence order
        return args.reverse ? -1 - step : args.taps - 1 + step;
    }

    template <class T>
    const T* read(const View& view, int64_t step) const {
        return step >= 0 && step < tokens ? row<T>(view, batch, at(step)) : reinterpret_cast<const T*>(zeros);
    }
    template <class T>
    const T* input(int64_t step) const {
        if (step >= 0 || step <= -args.taps || !args.initial_state.data) return read<T>(args.x, step);
        return row<T>(args.initial_state, batch, outside(step));
    }

    template <class T>
    void clear_padding(const View& view) const {
        const int64_t end = border(tokens, args.length, part + 1);
        for (int64_t t = border(tokens, args.length, part); t < end; ++t)
            std::memset(row<T>(view, batch, t), 0, args.channels * sizeof(T));
    }
};

// What is known when the kernel is compiled. TAPS is 4, the model's, or 0: any number.
template <class T, int TAPS, bool SILU>
struct ConvKind {
    typedef T Element;
    static constexpr int kTaps = TAPS;
    static constexpr bool kSilu = SILU;
    static constexpr int kTogether = TAPS ? 4 : 1;  // steps
};

// What ROWS consecutive steps read.
template <class Kind, int ROWS>
struct ConvInputs {
    typedef typename Kind::Element T;
    static constexpr int kTaps = Kind::kTaps, kRows = kTaps ? kTaps + ROWS - 1 : 1;
    const int64_t taps, channels;
    const float *const weight, *const bias;
    const T** const any_rows;  // where the number of taps is not known
    const T* rows[kRows];

    ConvInputs(const ConvTask& task, int64_t step)
        : taps(kTaps ? kTaps : task.args.taps),
          channels(task.args.channels),
          weight(task.weight),
          bias(task.bias),
          any_rows(reinterpret_cast<const T**>(task.pointers.data)) {
        for (int64_t i = 0; i < taps + ROWS - 1; ++i) (kTaps ? rows : any_rows)[i] = task.input<T>(step - (taps - 1) + i);
    }

    // Of W channels. Where the number of taps is known, inputs and weights stay in registers; else they are loaded when needed.
    struct Group {
        const ConvInputs& all;
        const int64_t channel;
        const int lanes;
        V inputs[kRows], weights[kTaps ? kTaps : 1], bias;

        VM_INLINE Group(const ConvInputs& a, int64_t e, int width) : all(a), channel(e), lanes(width) {
            bias = load(all.bias + channel, lanes);
#pragma GCC unroll 8
            for (int i = 0; kTaps && i < kRows; ++i) inputs[i] = load(all.rows[i] + channel, lanes);
#pragma GCC unroll 4
            for (int w = 0; w < kTaps; ++w) weights[w] = load_weight(w);
        }
        VM_INLINE V load_weight(int64_t w) const { return load(all.weight + w * all.channels + channel, lanes); }
        VM_INLINE V weight(int64_t w) const { return kTaps ? weights[w] : load_weight(w); }
        VM_INLINE V input(int64_t i) const { return kTaps ? inputs[i] : load(all.any_rows[i] + channel, lanes); }
        VM_INLINE V convolve(int64_t i) const {  // o of the i-th step
            V sum = bias;
#pragma GCC unroll 4
            for (int64_t w = 0; w < all.taps; ++w) sum += weight(w) * input(i + w);
            return sum;
        }
    };

    template <class Work>
    VM_INLINE void for_groups(Work work) const {
        int64_t e = 0;
        for (; e + W <= channels; e += W) work(Group(*this, e, W), e, W);
        if (e < channels) work(Group(*this, e, int(channels - e)), e, int(channels - e));
    }
};

template <class Kind>
struct ConvForward {
    typedef typename Kind::Element T;
    const ConvTask& task;

    template <int ROWS>
    void rows(int64_t step) const {
        const ConvInputs<Kind, ROWS> inputs(task, step);
        T* out[ROWS];
        for (int i = 0; i < ROWS; ++i) out[i] = row<T>(task.args.out, task.batch, task.at(step + i));
        inputs.for_groups([&](const auto& group, int64_t e, int lanes) __attribute__((always_inline)) {
#pragma GCC unroll 4
            for (int i = 0; i < ROWS; ++i) {
                const V o = group.convolve(i);
                store(out[i] + e, Kind::kSilu ? o * sigmoid(o) : o, lanes);
            }
        });
    }
};

// dx_s = sum_w W_w p_{s + (k-1) - w} with p = dout * d silu; dW_w = sum_s p_s x_{s - (k-1) + w}; dbias = sum_s p_s.
// Step s computes p_s and, of which it is the last term, dx_{s - (k-1)}.
template <class Kind>
struct ConvBackward {
    typedef typename Kind::Element T;
    const ConvTask& task;
    int64_t begin;  // gradients of the inputs before it are another task's
    float* kept;    // (k - 1, e): p of the steps before
    float* sums;    // (k + 1, e): dW and dbias
    float* unread;  // takes a row that nobody wants

    T* grad_input(int64_t step) const {
        const ConvArgs& args = task.args;
        const bool wanted = step >= begin && (step >= 0 || args.grad_initial_state.data);
        if (!wanted) return reinterpret_cast<T*>(unread);
        if (step >= 0) return row<T>(args.grad_x, task.batch, task.at(step));
        return row<T>(args.grad_initial_state, task.batch, task.outside(step));
    }

    template <int ROWS>
    void rows(int64_t step) const {
        const ConvInputs<Kind, ROWS> inputs(task, step);
        const int64_t taps = inputs.taps, channels = inputs.channels, before = taps - 1;
        const T* grad_out[ROWS];
        T* grad_in[ROWS];
        for (int i = 0; i < ROWS; ++i) {
            grad_out[i] = task.read<T>(task.args.grad_out, step + i);
            grad_in[i] = grad_input(step - before + i);
        }
        inputs.for_groups([&](const auto& group, int64_t e, int lanes) __attribute__((always_inline)) {
            V fresh[ROWS];
#pragma GCC unroll 4
            for (int i = 0; i < ROWS; ++i) {
                fresh[i] = load(grad_out[i] + e, lanes);
                if (!Kind::kSilu) continue;
                const V o = group.convolve(i), gate = sigmoid(o);
                fresh[i] *= gate * (1.0f + o * (1.0f - gate));
            }
            auto p = [&](int64_t i) __attribute__((always_inline)) {  // of step - (k-1) + i
                return i < before ? load(kept + i * channels + e, lanes) : fresh[i - before];
            };

            auto add = [&](int64_t w, auto term) __attribute__((always_inline)) {
                float* to = sums + w * channels + e;
                V sum = load(to, lanes);
#pragma GCC unroll 4
                for (int i = 0; i < ROWS; ++i) sum += term(i);
                store(to, sum, lanes);
            };
#pragma GCC unroll 4
            for (int64_t w = 0; w < taps; ++w)
                add(w, [&](int i) __attribute__((always_inline)) { return fresh[i] * group.input(i + w); });
            add(taps, [&](int i) __attribute__((always_inline)) { return fresh[i]; });

#pragma GCC unroll 4
            for (int i = 0; i < ROWS; ++i) {
                V value = splat(0.0f);
#pragma GCC unroll 4
                for (int64_t w = 0; w < taps; ++w) value += group.weight(w) * p(i + before - w);
                store(grad_in[i] + e, value, lanes);
            }
#pragma GCC unroll 4
            for (int64_t i = 0; i < before; ++i) store(kept + i * channels + e, p(i + ROWS), lanes);
        });
    }
};

template <class Kind, class Work>
void walk(const Work& work, int64_t step, int64_t end) {
    for (; step + Kind::kTogether <= end; step += Kind::kTogether) work.template rows<Kind::kTogether>(step);
    for (; step < end; ++step) work.template rows<1>(step);
}

template <class Kind>
void conv_forward_task(const ConvArgs& args, int64_t index) {
    ConvTask task(args, index);
    walk<Kind>(ConvForward<Kind>{task}, task.border(0, task.tokens, task.part), task.border(0, task.tokens, task.part + 1));
    task.clear_padding<typename Kind::Element>(args.out);
}

template <class Kind>
void conv_backward_task(const ConvArgs& args, int64_t index) {
    ConvTask task(args, index);
    const int64_t before = args.taps - 1, size = (args.taps + 1) * args.channels;
    const int64_t begin = task.border(-before, task.tokens, task.part);  // steps before 0 are the initial state's
    const int64_t end = task.border(-before, task.tokens, task.part + 1);
    float* sums = args.grad_weight + (task.part * args.batch + task.batch) * size;
    Scratch kept(before * args.channels), unread(size);
    for (int64_t i = 0; i < before * args.channels; ++i) kept.data[i] = 0.0f;
    for (int64_t i = 0; i < size; ++i) sums[i] = unread.data[i] = 0.0f;
    walk<Kind>(ConvBackward<Kind>{task, begin, kept.data, sums, unread.data}, begin, end);
    // The last inputs' gradients have terms that are in the next task's sums.
    walk<Kind>(ConvBackward<Kind>{task, begin, kept.data, unread.data, unread.data}, end, end + before);
    task.clear_padding<typename Kind::Element>(args.grad_x);
}

struct ConvWork {
    void (*forward)(const ConvArgs&, int64_t);
    void (*backward)(const ConvArgs&, int64_t);
};

template <class Kind>
ConvWork conv_work() {
    return {conv_forward_task<Kind>, conv_backward_task<Kind>};
}

template <class T>
ConvWork conv_work(const ConvArgs& args) {
    if (args.taps == 4) return args.silu ? conv_work<ConvKind<T, 4, true>>() : conv_work<ConvKind<T, 4, false>>();
    return args.silu ? conv_work<ConvKind<T, 0, true>>() : conv_work<ConvKind<T, 0, false>>();
}

ConvWork conv_work(const ConvArgs& args, bool is_bf16) { return is_bf16 ? conv_work<bf16>(args) : conv_work<float>(args); }

void run_conv(const ConvArgs& args, void (*work)(const ConvArgs&, int64_t)) {
    const int64_t tasks = args.batch * args.parts;
#pragma omp parallel for num_threads(args.threads) schedule(static) if (args.threads > 1 && tasks > 1)
    for (int64_t index = 0; index < tasks; ++index) work(args, index);
}

void conv_forward(const ConvArgs& args, bool is_bf16) { run_conv(args, conv_work(args, is_bf16).forward); }

void conv_backward(const ConvArgs& args, bool is_bf16) { run_conv(args, conv_work(args, is_bf16).backward); }

}  // namespace
