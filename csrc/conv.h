// Causal depthwise convolution, channels last. In walking order o_s = bias + sum_w W_w x_{s - (k-1) + w}; the k - 1
// tokens before the first come from the initial state or are zero. A task owns a batch entry and a range of steps.
#pragma once

namespace {

struct ConvTask {
    const ConvArgs& args;
    int64_t batch, part;
    Scratch memory;  // taps first: (k, e), then bias (e), then a row of zeros (e)
    float *weight, *bias;
    const float* zeros;

    ConvTask(const ConvArgs& a, int64_t index)
        : args(a),
          batch(index / a.parts),
          part(index % a.parts),
          memory((a.taps + 2) * a.channels),
          weight(memory.data),
          bias(weight + a.taps * a.channels),
          zeros(bias + a.channels) {
        for (int64_t e = 0; e < args.channels; ++e) {
            for (int64_t w = 0; w < args.taps; ++w) weight[w * args.channels + e] = args.weight[e * args.taps + w];
            bias[e] = args.bias ? args.bias[e] : 0.0f;
            bias[args.channels + e] = 0.0f;
        }
    }

    int64_t border(int64_t first, int64_t p) const { return first + (args.length - first) * p / args.parts; }
    int64_t at(int64_t step) const { return args.reverse ? args.length - 1 - step : step; }
    int64_t outside(int64_t step) const {  // row of the initial state, kept in sequence order
        return args.reverse ? -1 - step : args.taps - 1 + step;
    }

    template <class T>
    const T* input(int64_t step) const {
        if (step >= 0) return row<T>(args.x, batch, at(step));
        if (args.initial_state.data) return row<T>(args.initial_state, batch, outside(step));
        return reinterpret_cast<const T*>(zeros);
    }

    template <class T>
    V convolve(int64_t step, int64_t e, int lanes) const {
        V sum = load(bias + e, lanes);
        for (int64_t w = 0; w < args.taps; ++w)
            sum += load(weight + w * args.channels + e, lanes) * load(input<T>(step - (args.taps - 1) + w) + e, lanes);
        return sum;
    }
};

VM_INLINE int lanes_at(int64_t e, int64_t channels) { return int(smaller<int64_t>(W, channels - e)); }

// ROWS consecutive rows of the output, which share their loads of inputs and weights; taps and activation are known to the
// compiler.
template <class T, int TAPS, bool SILU, int ROWS>
void convolve_rows(const ConvTask& task, int64_t step) {
    const ConvArgs& args = task.args;
    const T* inputs[TAPS + ROWS - 1];
    T* outputs[ROWS];
    for (int i = 0; i < TAPS + ROWS - 1; ++i) inputs[i] = task.input<T>(step - (TAPS - 1) + i);
    for (int i = 0; i < ROWS; ++i) outputs[i] = row<T>(args.out, task.batch, task.at(step + i));
    auto group = [&](int64_t e, int lanes) __attribute__((always_inline)) {
        V x[TAPS + ROWS - 1], weight[TAPS];
#pragma GCC unroll 8
        for (int i = 0; i < TAPS + ROWS - 1; ++i) x[i] = load(inputs[i] + e, lanes);
#pragma GCC unroll 4
        for (int w = 0; w < TAPS; ++w) weight[w] = load(task.weight + w * args.channels + e, lanes);
        const V bias = load(task.bias + e, lanes);
#pragma GCC unroll 4
        for (int i = 0; i < ROWS; ++i) {
            V sum = bias;
#pragma GCC unroll 4
            for (int w = 0; w < TAPS; ++w) sum += weight[w] * x[i + w];
            store(outputs[i] + e, SILU ? sum * sigmoid(sum) : sum, lanes);
        }
    };
    int64_t e = 0;
    for (; e + W <= args.channels; e += W) group(e, W);
    if (e < args.channels) group(e, int(args.channels - e));
}

template <class T, bool SILU>
void convolve_four_taps(const ConvTask& task, int64_t step, int64_t end) {  // the model's
    for (; step + 4 <= end; step += 4) convolve_rows<T, 4, SILU, 4>(task, step);
    for (; step < end; ++step) convolve_rows<T, 4, SILU, 1>(task, step);
}

template <class T>
void conv_forward_task(const ConvArgs& args, int64_t index) {
    ConvTask task(args, index);
    const int64_t begin = task.border(0, task.part), end = task.border(0, task.part + 1);
    if (args.taps == 4) return args.silu ? convolve_four_taps<T, true>(task, begin, end) : convolve_four_taps<T, false>(task, begin, end);
    for (int64_t s = begin; s < end; ++s) {
        T* out = row<T>(args.out, task.batch, task.at(s));
        for (int64_t e = 0; e < args.channels; e += W) {
            const int lanes = lanes_at(e, args.channels);
            V sum = task.convolve<T>(s, e, lanes);
            store(out + e, args.silu ? sum * sigmoid(sum) : sum, lanes);
        }
    }
}

// dx_s = sum_w W_w p_{s + (k-1) - w} with p = dout * d silu; dW_w = sum_s p_s x_{s - (k-1) + w}; dbias = sum_s p_s.
// A window of k rows of p is kept; the first steps of the walk, before 0, are the initial state's.
template <class T>
void conv_backward_task(const ConvArgs& args, int64_t index) {
    ConvTask task(args, index);
    const int64_t taps = args.taps, channels = args.channels, before = -(taps - 1);
    const int64_t begin = task.border(before, task.part), end = task.border(before, task.part + 1);
    Scratch window_memory(taps * channels);
    float* window = window_memory.data;  // row of p at step s is s mod k
    float* grad = args.grad_weight + (task.part * args.batch + task.batch) * (taps + 1) * channels;
    for (int64_t i = 0; i < (taps + 1) * channels; ++i) grad[i] = 0.0f;

    auto compute_p = [&](int64_t s) {
        float* p = window + ((s + taps) % taps) * channels;
        const bool counted = s >= begin && s < end;  // else it belongs to the next task's sums
        for (int64_t e = 0; e < channels; e += W) {
            const int lanes = lanes_at(e, channels);
            V value = splat(0.0f);
            if (s >= 0 && s < args.length) {
                value = load(row<T>(args.grad_out, task.batch, task.at(s)) + e, lanes);
                if (args.silu) {
                    V o = task.convolve<T>(s, e, lanes), gate = sigmoid(o);
                    value *= gate * (1.0f + o * (1.0f - gate));
                }
                if (counted) {
                    for (int64_t w = 0; w < taps; ++w) {
                        float* to = grad + w * channels + e;
                        store(to, load(to, lanes) + value * load(task.input<T>(s + before + w) + e, lanes), lanes);
                    }
                    float* to = grad + taps * channels + e;
                    store(to, load(to, lanes) + value, lanes);
                }
            }
            store(p + e, value, lanes);
        }
    };

    for (int64_t s = begin; s < begin + taps - 1; ++s) compute_p(s);
    for (int64_t s = begin; s < end; ++s) {
        compute_p(s + taps - 1);
        T* to = nullptr;
        if (s >= 0) to = row<T>(args.grad_x, task.batch, task.at(s));
        else if (args.grad_initial_state.data) to = row<T>(args.grad_initial_state, task.batch, task.outside(s));
        if (!to) continue;
        for (int64_t e = 0; e < channels; e += W) {
            const int lanes = lanes_at(e, channels);
            V value = splat(0.0f);
            for (int64_t w = 0; w < taps; ++w)
                value += load(task.weight + w * channels + e, lanes) *
                         load(window + ((s - before - w + taps) % taps) * channels + e, lanes);
            store(to + e, value, lanes);
        }
    }
}

void run_conv(const ConvArgs& args, void (*work)(const ConvArgs&, int64_t)) {
    const int64_t tasks = args.batch * args.parts;
#pragma omp parallel for num_threads(args.threads) schedule(static) if (args.threads > 1 && tasks > 1)
    for (int64_t index = 0; index < tasks; ++index) work(args, index);
}

void conv_forward(const ConvArgs& args, bool is_bf16) { run_conv(args, is_bf16 ? conv_forward_task<bf16> : conv_forward_task<float>); }

void conv_backward(const ConvArgs& args, bool is_bf16) {
    run_conv(args, is_bf16 ? conv_backward_task<bf16> : conv_backward_task<float>);
}

}  // namespace
