"""[1] Explicit vector lanes for Numba: a type for a cache line of floats or doubles, and what can be done with it.

LLVM's own vectoriser may not reorder a maximum that must keep NaN, or fuse a sum with it; with lanes written out it need
not, and sums have one order on every CPU. LLVM splits the lanes into whatever registers the CPU has.
A carrier's type tells its meaning: float64, float32, uint16 = bfloat16, int16 = float16.
"""

import operator
from decimal import Decimal

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.registry import cpu_target
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

BYTES = 64  # of a vector, and of a cache line
I64 = ir.IntType(64)
CPU, FEATURES = cpu_target.target_context.codegen().magic_tuple()[1:]  # what is compiled for, as the cache knows it
HAS_TABLES = "+avx512f" in FEATURES  # VPERMI2: a table of two registers, looked up in one instruction
# in how many steps a power of two is cut: as many as there are numbers in two registers, or one step, no table
STEPS32, STEPS64 = (32, 16) if HAS_TABLES else (1, 1)


class Lanes(types.Type):
    """A vector of numbers of the type `real`: 16 floats or 8 doubles."""

    def __init__(self, real):
        self.real = real
        self.count = BYTES * 8 // real.bitwidth
        super().__init__(f"Lanes({real})")


F32, F64 = Lanes(types.float32), Lanes(types.float64)
OF = {types.float32: F32, types.float64: F64, types.uint16: F32, types.int16: F32}


def vector_of(lanes):
    return ir.VectorType(ir.FloatType() if lanes == F32 else ir.DoubleType(), lanes.count)


def integers(size, count):
    return ir.VectorType(ir.IntType(size), count)


@register_model(Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, manager, lanes):
        super().__init__(manager, lanes, vector_of(lanes))


def splat(builder, scalar, count):
    one = builder.insert_element(ir.Constant(ir.VectorType(scalar.type, count), ir.Undefined), scalar, ir.IntType(32)(0))
    return builder.shuffle_vector(one, one, constant(integers(32, count), 0))


def constant(kind, value):
    return ir.Constant(kind, [value] * kind.count)


def call_intrinsic(builder, name, result, arguments):
    kind = ir.FunctionType(result, [a.type for a in arguments])
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    return builder.call(function, arguments)


def mangled(kind):
    bits = {"float": "f32", "double": "f64"}
    return f"v{kind.count}{bits.get(str(kind.element)) or str(kind.element)}"


# ---- arithmetic -----------------------------------------------------------------------------------------------

for _operator, _name in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul"),
                         (operator.truediv, "fdiv")):

    @infer_global(_operator)
    class _(ConcreteTemplate):
        cases = [signature(lanes, lanes, lanes) for lanes in (F32, F64)]

    def _lower(context, builder, sig, args, name=_name):
        return getattr(builder, name)(*args)

    for _lanes in (F32, F64):
        lower_builtin(_operator, _lanes, _lanes)(_lower)


@intrinsic
def fma(typingctx, a, b, c):
    """a*b + c, rounded once."""

    def codegen(context, builder, signature, args):
        return call_intrinsic(builder, f"llvm.fma.{mangled(args[0].type)}", args[0].type, args)

    return a(a, b, c), codegen


@intrinsic
def larger(typingctx, a, b):
    """The larger of each lane; b where either is NaN, as MAXPS has it."""

    def codegen(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return a(a, b), codegen


@intrinsic
def smaller(typingctx, a, b):
    """The smaller of each lane; b where either is NaN."""

    def codegen(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered("<", *args), *args)

    return a(a, b), codegen


@intrinsic
def plain(typingctx, v):
    """v, or a NaN as memory._rounded wants it, whatever the bits of the caller's."""

    def codegen(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered("ord", *args, *args), *args, constant(args[0].type, float("nan")))

    return v(v), codegen


@intrinsic
def product(typingctx, a, b):
    """a*b, and 0 where a is, whatever b."""

    def codegen(context, builder, signature, args):
        zero = ir.Constant(args[0].type, None)
        return builder.select(builder.fcmp_ordered("==", args[0], zero), zero, builder.fmul(*args))

    return a(a, b), codegen


def _table(steps, size, shift):
    """The bits of 2**(j/steps), less what the j in the last bits of k adds where k is shifted to the exponent."""
    single = np.float32 if size == 32 else np.float64
    powers = [single(Decimal(2) ** (Decimal(j) / steps)).view(f"u{size // 8}") for j in range(steps)]
    bits = [int(power) - (j << shift) for j, power in enumerate(powers)]
    kind = integers(size, steps // 2)
    return ir.Constant(kind, bits[:steps // 2]), ir.Constant(kind, bits[steps // 2:])


@intrinsic
def power(typingctx, k):
    """2**(n/STEPS) for k = n + MAGIC (_numba_blocks)."""
    size, mantissa, steps, letter = (32, 23, STEPS32, "d") if k == F32 else (64, 52, STEPS64, "q")
    shift = mantissa - steps.bit_length() + 1

    def codegen(context, builder, signature, args):
        kind = integers(size, k.count)
        bits = builder.bitcast(args[0], kind)
        found = builder.shl(bits, constant(kind, shift))
        if HAS_TABLES:
            low, high = _table(steps, size, shift)
            step = call_intrinsic(builder, f"llvm.x86.avx512.vpermi2var.{letter}.512", kind, [low, bits, high])
            found = builder.add(found, step)
        return builder.bitcast(found, args[0].type)

    return k(k), codegen


@intrinsic
def width(typingctx, carrier):
    """How many lanes a vector has of the dtype in which the carrier is computed."""

    def codegen(context, builder, signature, args):
        return I64(OF[carrier.dtype].count)

    return types.int64(carrier), codegen


@intrinsic
def full(typingctx, carrier, value):
    """Lanes, all `value`, of the dtype in which the carrier array is computed."""
    lanes = OF[carrier.dtype]

    def codegen(context, builder, signature, args):
        return splat(builder, context.cast(builder, args[1], value, lanes.real), lanes.count)

    return lanes(carrier, value), codegen


# ---- over the lanes -------------------------------------------------------------------------------------------


def _folded(builder, vector, combine):
    """combine(lower half, upper half) until one lane is left, in float64."""
    n = vector.type.count
    while n > 1:
        n //= 2
        halves = [ir.Constant(ir.VectorType(ir.IntType(32), n), list(range(i, i + n))) for i in (0, n)]
        vector = combine(*(builder.shuffle_vector(vector, vector, half) for half in halves))
    lane = builder.extract_element(vector, ir.IntType(32)(0))
    return lane if lane.type == ir.DoubleType() else builder.fpext(lane, ir.DoubleType())


@intrinsic
def total(typingctx, a, b, c, d):
    """The sum over the lanes of four, in float64 and in an order of its own."""

    def codegen(context, builder, signature, args):
        wide = ir.VectorType(ir.DoubleType(), a.count)
        w = [v if v.type == wide else builder.fpext(v, wide) for v in args]
        return _folded(builder, builder.fadd(builder.fadd(w[0], w[1]), builder.fadd(w[2], w[3])), builder.fadd)

    return types.float64(a, b, c, d), codegen


@intrinsic
def top(typingctx, a, b, c, d):
    """The largest lane of four, none of them NaN, as float64."""

    def codegen(context, builder, signature, args):
        def of_two(x, y):
            return builder.select(builder.fcmp_ordered(">", x, y), x, y)

        return _folded(builder, of_two(of_two(args[0], args[1]), of_two(args[2], args[3])), of_two)

    return types.float64(a, b, c, d), codegen


def mask_of(builder, n, count):
    return builder.icmp_signed("<", ir.Constant(integers(64, count), list(range(count))), splat(builder, n, count))


@intrinsic
def keep_some(typingctx, v, n):
    """The first n lanes, and 0 in the others."""

    def codegen(context, builder, signature, args):
        return builder.select(mask_of(builder, args[1], v.count), args[0], ir.Constant(args[0].type, None))

    return v(v, types.int64), codegen


# ---- comparisons ------------------------------------------------------------------------------------------------


@intrinsic
def keep_above(typingctx, e, v, bound):
    """e in the lanes where v is above bound or NaN, and 0 in the others."""

    def codegen(context, builder, signature, args):
        return builder.select(builder.fcmp_unordered(">", *args[1:]), args[0], ir.Constant(args[0].type, None))

    return e(e, v, bound), codegen


@intrinsic
def bits_above(typingctx, v, bound):
    """The lanes where v is above bound or NaN, as the bits of a number."""

    def codegen(context, builder, signature, args):
        bits = builder.bitcast(builder.fcmp_unordered(">", *args), ir.IntType(v.count))
        return builder.zext(bits, I64)

    return types.int64(v, bound), codegen


@intrinsic
def count_bits(typingctx, bits):
    """How many bits are 1."""

    def codegen(context, builder, signature, args):
        return builder.ctpop(args[0])

    return types.int64(types.int64), codegen


@intrinsic
def first_bit(typingctx, bits):
    """Which is the lowest bit that is 1; there must be one."""

    def codegen(context, builder, signature, args):
        return builder.cttz(args[0], ir.IntType(1)(1))

    return types.int64(types.int64), codegen


# ---- scalars ----------------------------------------------------------------------------------------------------


@intrinsic
def scalar_like(typingctx, carrier, value):
    """The number rounded to the dtype in which the carrier array is computed, as float64."""
    real = OF[carrier.dtype].real

    def codegen(context, builder, signature, args):
        return context.cast(builder, context.cast(builder, args[1], value, real), real, types.float64)

    return types.float64(carrier, value), codegen


@intrinsic
def fused(typingctx, a, b, c):
    """a*b + c of float64 numbers, rounded once."""

    def codegen(context, builder, signature, args):
        return call_intrinsic(builder, "llvm.fma.f64", ir.DoubleType(), args)

    return types.float64(types.float64, types.float64, types.float64), codegen
