// Compiled once for each instruction set, with VM_LANES and VM_ISA defined and the matching compiler options.
// All of it is internal to the translation unit but for the table, and no template of the standard library is
// instantiated here: the linker would keep one copy of it, perhaps the one that this machine cannot run.
#include "api.h"

using namespace videomamba;

#include "simd.h"
#include "scan.h"
#include "conv.h"
#include "norm.h"

#define VM_NAME_(isa) #isa
#define VM_NAME(isa) VM_NAME_(isa)
#define VM_TABLE_(isa) kernels_##isa
#define VM_TABLE(isa) VM_TABLE_(isa)

namespace videomamba {
extern const Kernels VM_TABLE(VM_ISA);
const Kernels VM_TABLE(VM_ISA) = {VM_NAME(VM_ISA), VM_LANES, scan_forward, scan_backward, conv_forward, conv_backward, norm};
}  // namespace videomamba
