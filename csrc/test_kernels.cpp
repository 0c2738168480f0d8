// The kernels against plain loops in double, without Python: what the sanitizers and a foreign processor run.
//   g++ -std=c++17 -O1 -g -fsanitize=address,undefined -DVM_ISA=generic -DVM_LANES=4 csrc/kernels.cpp csrc/test_kernels.cpp
// Every buffer has exactly the size that the shapes say, so that an access beyond it is found.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "api.h"

#define TABLE_(isa) kernels_##isa
#define TABLE(isa) TABLE_(isa)
namespace videomamba {
extern const Kernels TABLE(VM_ISA);
}
using namespace videomamba;

namespace {

const Kernels& kernels = TABLE(VM_ISA);
std::mt19937 generator(1);
double worst = 0;

std::vector<float> normal(int64_t size, double scale = 1, double shift = 0) {
    std::normal_distribution<double> draw(shift, scale);
    std::vector<float> values(size);
    for (float& v : values) v = float(draw(generator));
    return values;
}

View view(std::vector<float>& data, int64_t length, int64_t channels) {
    return {data.empty() ? nullptr : data.data(), length * channels, channels};
}

// The largest difference, relative to the largest expected magnitude or to `scale` where that is larger: a sum whose terms
// cancel is as exact as its terms.
void compare(const char* what, const std::vector<float>& found, const std::vector<double>& expected, double scale = 1e-30) {
    double difference = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
        scale = std::fmax(scale, std::fabs(expected[i]));
        const double d = std::fabs(found[i] - expected[i]);
        difference = std::isnan(d) ? INFINITY : std::fmax(difference, d);
    }
    worst = std::fmax(worst, difference / scale);
    if (difference / scale > 3e-4) {
        std::printf("%s: %s: relative difference %g\n", kernels.name, what, difference / scale);
        std::exit(1);
    }
}

// NaN in the rows (b, l, width) that are padding: it must reach nothing.
void spoil(std::vector<float>& rows, const int64_t* lengths, int64_t b, int64_t l) {
    const int64_t width = int64_t(rows.size()) / (b * l);
    for (int64_t i = 0; lengths && i < b; ++i)
        for (int64_t at = (i * l + lengths[i]) * width; at < (i + 1) * l * width; ++at) rows[at] = NAN;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

struct Scan {
    int64_t b, l, e, n;
    bool full, softplus, reverse, zoh;
    int pieces;
    const int64_t* lengths;

    void run() {
        auto u = normal(b * l * e), delta = normal(b * l * e, 1, softplus ? -1 : 0), A = normal(e * n), B = normal(b * l * n);
        auto C = normal(b * l * n), D = normal(full ? e : 0), z = normal(full ? b * l * e : 0), bias = normal(full ? e : 0, 0.5);
        auto initial = normal(full ? b * e * n : 0), dout = normal(b * l * e), dstate = normal(b * e * n);
        for (float& a : A) a = -std::exp(a);
        if (!softplus)  // steps are positive, or the states grow without bound
            for (auto* values : {&delta, &bias})
                for (float& d : *values) d = 0.3f * std::fabs(d);
        for (auto* rows : {&u, &delta, &B, &C, &z, &dout}) spoil(*rows, lengths, b, l);
        auto delta_at = [&](int64_t i, int64_t c) { return delta[i] + (full ? double(bias[c]) : 0.0); };

        // Plain loops. States of every step are kept: h[(s + 1)] is the state after step s of the walk.
        std::vector<double> out(b * l * e), last(b * e * n), du(b * l * e), dd(b * l * e), dA(e * n), dB(b * l * n), dC(b * l * n);
        std::vector<double> dD(e), dz(b * l * e), dbias(e), dinitial(b * e * n);
        double terms_of_dbias = 0;
        for (int64_t i = 0; i < b; ++i)
            for (int64_t c = 0; c < e; ++c) {
                const int64_t length = lengths ? lengths[i] : l;
                std::vector<double> h((length + 1) * n), y(length), dy(length);
                for (int64_t k = 0; k < n; ++k) h[k] = full ? initial[(i * e + c) * n + k] : 0;
                auto at = [&](int64_t s) { return i * l + (reverse ? length - 1 - s : s); };
                auto step = [&](int64_t s) {
                    const double raw = delta_at(at(s) * e + c, c);
                    return softplus ? std::log1p(std::exp(raw)) : raw;
                };
                auto phi = [&](double d, double a) { return zoh ? std::expm1(d * a) / a : d; };
                for (int64_t s = 0; s < length; ++s) {
                    const double d = step(s);
                    for (int64_t k = 0; k < n; ++k) {
                        const double a = A[c * n + k];
                        h[(s + 1) * n + k] = std::exp(d * a) * h[s * n + k] + phi(d, a) * B[at(s) * n + k] * u[at(s) * e + c];
                        y[s] += C[at(s) * n + k] * h[(s + 1) * n + k];
                    }
                    y[s] += full ? D[c] * double(u[at(s) * e + c]) : 0;
                    const double gate = full ? z[at(s) * e + c] * sigmoid(z[at(s) * e + c]) : 1;
                    out[at(s) * e + c] = y[s] * gate;
                    dy[s] = dout[at(s) * e + c] * gate;
                    if (full) {
                        const double zi = z[at(s) * e + c], g = sigmoid(zi);
                        dz[at(s) * e + c] = dout[at(s) * e + c] * y[s] * g * (1 + zi * (1 - g));
                        dD[c] += dy[s] * u[at(s) * e + c];
                    }
                }
                for (int64_t k = 0; k < n; ++k) last[(i * e + c) * n + k] = h[length * n + k];
                std::vector<double> carry(n);
                for (int64_t k = 0; k < n; ++k) carry[k] = dstate[(i * e + c) * n + k];
                for (int64_t s = length - 1; s >= 0; --s) {
                    const double d = step(s), ui = u[at(s) * e + c];
                    double ddelta = 0, dui = full ? D[c] * dy[s] : 0;
                    for (int64_t k = 0; k < n; ++k) {
                        const double a = A[c * n + k], decay = std::exp(d * a), g = carry[k] + dy[s] * C[at(s) * n + k];
                        const double gB = g * B[at(s) * n + k], homogeneous = g * decay * h[s * n + k];
                        dC[at(s) * n + k] += dy[s] * h[(s + 1) * n + k];
                        dB[at(s) * n + k] += g * phi(d, a) * ui;
                        dui += gB * phi(d, a);
                        ddelta += homogeneous * a + ui * gB * (zoh ? decay : 1);
                        dA[c * n + k] += homogeneous * d + (zoh ? ui * gB * (d * decay - phi(d, a)) / a : 0);
                        carry[k] = g * decay;
                    }
                    du[at(s) * e + c] = dui;
                    dd[at(s) * e + c] = ddelta * (softplus ? sigmoid(delta_at(at(s) * e + c, c)) : 1);
                    dbias[c] += dd[at(s) * e + c], terms_of_dbias = std::fmax(terms_of_dbias, std::fabs(dd[at(s) * e + c]));
                }
                for (int64_t k = 0; k < n; ++k) dinitial[(i * e + c) * n + k] = carry[k];
            }

        ScanArgs args{};
        args.batch = b, args.length = l, args.channels = e, args.states = n;
        args.softplus = softplus, args.reverse = reverse, args.zoh = zoh;
        args.parts = int(std::fmin(2.0, double((e + kernels.lanes - 1) / kernels.lanes))), args.threads = 2;
        args.pieces = pieces, args.lengths = lengths;
        args.u = view(u, l, e), args.delta = view(delta, l, e), args.B = view(B, l, n), args.C = view(C, l, n), args.z = view(z, l, e);
        args.A = A.data(), args.D = full ? D.data() : nullptr, args.delta_bias = full ? bias.data() : nullptr;
        args.initial_state = full ? initial.data() : nullptr;
        const int64_t blocks = (l + kCheckpointInterval - 1) / kCheckpointInterval;
        std::vector<float> fout(b * l * e, NAN), flast(b * e * n, NAN), kept(b * blocks * n * e, NAN);
        args.out = view(fout, l, e), args.final_state = flast.data(), args.checkpoints = kept.data();
        kernels.scan_forward(args, false);
        compare("out", fout, out);
        compare("final state", flast, last);

        std::vector<float> fdu(b * l * e, NAN), fdd(b * l * e, NAN), fdz(full ? b * l * e : 0, NAN), fdA(pieces * b * e * n, NAN);
        std::vector<float> fdB(args.parts * b * l * n, NAN), fdC(args.parts * b * l * n, NAN), fdD(full ? pieces * b * e : 0, NAN);
        std::vector<float> fdbias(full ? pieces * b * e : 0, NAN), fdinitial(full ? b * e * n : 0, NAN);
        args.grad_out = view(dout, l, e), args.grad_state = dstate.data();
        args.grad_u = view(fdu, l, e), args.grad_delta = view(fdd, l, e), args.grad_z = view(fdz, l, e);
        args.grad_A = fdA.data(), args.grad_B = fdB.data(), args.grad_C = fdC.data();
        args.grad_D = full ? fdD.data() : nullptr, args.grad_delta_bias = full ? fdbias.data() : nullptr;
        args.grad_initial_state = full ? fdinitial.data() : nullptr;
        kernels.scan_backward(args, false);
        auto summed = [](const std::vector<float>& parts, size_t size) {
            std::vector<float> total(size);
            for (size_t i = 0; i < parts.size(); ++i) total[i % size] += parts[i];
            return total;
        };
        compare("du", fdu, du), compare("ddelta", fdd, dd), compare("dA", summed(fdA, dA.size()), dA);
        compare("dB", summed(fdB, dB.size()), dB), compare("dC", summed(fdC, dC.size()), dC);
        if (!full) return;
        compare("dz", fdz, dz), compare("dD", summed(fdD, dD.size()), dD);
        compare("dbias", summed(fdbias, dbias.size()), dbias, terms_of_dbias), compare("dinitial", fdinitial, dinitial);
    }
};

void run_conv(int64_t b, int64_t l, int64_t e, int64_t k, bool full, bool silu, bool reverse, const int64_t* lengths) {
    auto x = normal(b * l * e), w = normal(e * k), bias = normal(full ? e : 0), initial = normal(full ? b * (k - 1) * e : 0);
    auto dout = normal(b * l * e);
    for (auto* rows : {&x, &dout}) spoil(*rows, lengths, b, l);
    std::vector<double> out(b * l * e), dx(b * l * e), dw(e * k), dbias(e), dinitial(initial.size());
    for (int64_t i = 0; i < b; ++i)
        for (int64_t c = 0; c < e; ++c)
            for (int64_t s = 0, length = lengths ? lengths[i] : l; s < length; ++s) {
                auto input = [&](int64_t tap) { return s - (k - 1) + tap; };
                auto row = [&](int64_t step) { return (i * l + (reverse ? length - 1 - step : step)) * e + c; };
                const int64_t at = row(s);
                auto before = [&](int64_t step) { return (i * (k - 1) + (reverse ? -1 - step : k - 1 + step)) * e + c; };
                double o = full ? bias[c] : 0;
                for (int64_t t = 0; t < k; ++t)
                    o += w[c * k + t] * (input(t) >= 0 ? x[row(input(t))] : full ? initial[before(input(t))] : 0.0);
                out[at] = silu ? o * sigmoid(o) : o;
                const double p = dout[at] * (silu ? sigmoid(o) * (1 + o * (1 - sigmoid(o))) : 1);
                dbias[c] += p;
                for (int64_t t = 0; t < k; ++t) {
                    if (input(t) >= 0) dx[row(input(t))] += w[c * k + t] * p, dw[c * k + t] += p * x[row(input(t))];
                    else if (full) dinitial[before(input(t))] += w[c * k + t] * p, dw[c * k + t] += p * initial[before(input(t))];
                }
            }
    ConvArgs args{};
    args.batch = b, args.length = l, args.channels = e, args.taps = k, args.silu = silu, args.reverse = reverse;
    args.parts = int(std::fmin(2.0, double(l))), args.threads = 2, args.lengths = lengths;
    args.x = view(x, l, e), args.initial_state = view(initial, k - 1, e), args.weight = w.data();
    args.bias = full ? bias.data() : nullptr;
    std::vector<float> fout(out.size(), NAN), fdx(dx.size(), NAN), fdinitial(initial.size(), NAN);
    std::vector<float> fdw(args.parts * b * (k + 1) * e, NAN), weight(e * k), bias_sum(e);
    args.out = view(fout, l, e), args.grad_out = view(dout, l, e), args.grad_x = view(fdx, l, e);
    args.grad_initial_state = view(fdinitial, k - 1, e), args.grad_weight = fdw.data();
    kernels.conv_forward(args, false);
    kernels.conv_backward(args, false);
    for (int64_t part = 0; part < args.parts * b; ++part)
        for (int64_t t = 0; t <= k; ++t)
            for (int64_t c = 0; c < e; ++c) (t < k ? weight[c * k + t] : bias_sum[c]) += fdw[(part * (k + 1) + t) * e + c];
    compare("conv", fout, out), compare("conv dx", fdx, dx), compare("conv dw", weight, dw), compare("conv dbias", bias_sum, dbias);
    compare("conv dinitial", fdinitial, dinitial);
}

void run_norm(int64_t b, int64_t l, int64_t e, const int64_t* lengths) {
    auto x = normal(b * l * e), weight = normal(e);
    spoil(x, lengths, b, l);
    std::vector<double> out(x.size());
    for (int64_t i = 0; i < b * l; ++i) {
        if (lengths && i % l >= lengths[i / l]) continue;
        double squares = 0;
        for (int64_t c = 0; c < e; ++c) squares += double(x[i * e + c]) * x[i * e + c];
        for (int64_t c = 0; c < e; ++c) out[i * e + c] = x[i * e + c] / std::sqrt(squares / e + 1e-5) * weight[c];
    }
    std::vector<float> found(x.size(), NAN);
    NormArgs args{b, l, e, lengths, view(x, l, e), view(found, l, e), weight.data(), 1e-5f, 2};
    kernels.norm(args, false);
    compare("norm", found, out);
}

}  // namespace

int main() {
    int cases = 0;
    auto scan = [&](int64_t l, int64_t e, int64_t n, int pieces, const int64_t* lengths) {
        for (int flags = 0; flags < 16; ++flags, ++cases)
            Scan{2, l, e, n, bool(flags & 1), bool(flags & 2), bool(flags & 4), bool(flags & 8), pieces, lengths}.run();
    };
    auto conv = [&](int64_t l, int64_t e, int64_t k, const int64_t* lengths) {
        for (int flags = 0; flags < 8; ++flags, ++cases) run_conv(2, l, e, k, flags & 1, flags & 2, flags & 4, lengths);
    };
    for (int64_t l : {1, 31, 32, 33, 70})
        for (int64_t e : {1, 5, 16, 35})
            for (int64_t n : {1, 16, 19}) scan(l, e, n, 1, nullptr);
    for (int64_t l : {33, 150})
        for (int64_t e : {5, 35}) {
            const int64_t some[] = {l / 2, l}, none[] = {l - 1, 0};
            for (const int64_t* lengths : {static_cast<const int64_t*>(nullptr), some, none})
                for (int pieces : {1, 2, 4}) scan(l, e, 19, pieces, lengths);
        }
    for (int64_t l : {1, 2, 3, 4, 33})
        for (int64_t e : {1, 5, 16, 35})
            for (int64_t k : {1, 3, 4}) {
                const int64_t some[] = {l / 2, l}, none[] = {l - 1, 0};
                for (const int64_t* lengths : {static_cast<const int64_t*>(nullptr), some, none}) conv(l, e, k, lengths);
            }
    for (int64_t e : {1, 5, 16, 35, 64}) {
        const int64_t some[] = {0, 3};
        run_norm(2, 7, e, nullptr), run_norm(2, 7, e, some), cases += 2;
    }
    std::printf("%s: %d cases, largest relative difference %.1e\n", kernels.name, cases, worst);
}
