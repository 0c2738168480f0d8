// RMSNorm of rows, x / sqrt(mean(x^2) + eps) * weight, from fp32 to the type that the products after it take. Padding is 0.
#pragma once

namespace {

template <class T>
void norm_row(const NormArgs& args, const float* x, T* out) {
    const int64_t whole = args.channels / W * W;
    const int rest = int(args.channels - whole);
    V squares = splat(0.0f);
    for (int64_t e = 0; e < whole; e += W) squares += load(x + e) * load(x + e);
    if (rest) squares += load(x + whole, rest) * load(x + whole, rest);
    float lanes[W], total = 0.0f;
    store(lanes, squares);
    for (int i = 0; i < W; ++i) total += lanes[i];
    const float scale = 1.0f / __builtin_sqrtf(total / float(args.channels) + args.eps);
    for (int64_t e = 0; e < whole; e += W) store(out + e, load(x + e) * scale * load(args.weight + e));
    if (rest) store(out + whole, load(x + whole, rest) * scale * load(args.weight + whole, rest), rest);
}

template <class T>
void norm_rows(const NormArgs& args) {
    const int64_t rows = args.batch * args.length;
#pragma omp parallel for num_threads(args.threads) schedule(static) if (args.threads > 1)
    for (int64_t i = 0; i < rows; ++i) {
        const int64_t b = i / args.length, t = i % args.length;
        T* out = row<T>(args.out, b, t);
        if (args.lengths && t >= args.lengths[b])
            for (int64_t e = 0; e < args.channels; e += W)
                store(out + e, splat(0.0f), int(smaller<int64_t>(W, args.channels - e)));
        else norm_row(args, row<float>(args.x, b, t), out);
    }
}

void norm(const NormArgs& args, bool is_bf16) {
    if (is_bf16) norm_rows<bf16>(args);
    else norm_rows<float>(args);
}

}  // namespace
