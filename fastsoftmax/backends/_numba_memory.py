"""[1] Memory for Numba without owners: addresses, whose elements are loaded and stored one or LANES at a time.

A carrier's type tells its meaning: float64, float32, uint16 = bfloat16, int16 = float16.
"""

import operator

from llvmlite import ir
from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model
from numba.np.arrayobj import populate_array

from ._numba_vec import (
    F32,
    FEATURES,
    I64,
    LANES,
    OF,
    call_intrinsic,
    constant,
    integers,
    mangled,
    mask_of,
    splat,
    vector_of,
)

HALF_IN_HARDWARE = "+f16c" in FEATURES


class Memory(types.Type):
    """Numbers of one dtype from some address on. Unlike an array it has no owner whose references would be counted,
    atomically, at every call; something else must keep it alive."""

    def __init__(self, dtype):
        self.dtype = dtype
        super().__init__(f"Memory({dtype})")


@register_model(Memory)
class _MemoryModel(models.PrimitiveModel):
    def __init__(self, manager, memory):
        super().__init__(manager, memory, manager.lookup(memory.dtype).get_data_type().as_pointer())


@intrinsic
def of(typingctx, array):
    """The memory of an array, from its first element on."""

    def codegen(context, builder, signature, args):
        return context.make_array(array)(context, builder, args[0]).data

    return Memory(array.dtype)(array), codegen


@intrinsic
def as_array(typingctx, memory, start, count):
    """memory[start:start + count] as an array that owns nothing."""
    kind = types.Array(memory.dtype, 1, "C")

    def codegen(context, builder, signature, args):
        array = context.make_array(kind)(context, builder)
        size = context.get_abi_sizeof(context.get_data_type(memory.dtype))
        populate_array(array, builder.gep(args[0], [args[1]]), [args[2]], [I64(size)], I64(size), None)
        return array._getvalue()

    return kind(memory, types.int64, types.int64), codegen


@infer_global(operator.getitem)
class _GetItem(AbstractTemplate):
    def generic(self, args, kws):
        if isinstance(args[0], Memory) and isinstance(args[1], types.Integer):
            return signature(args[0].dtype, args[0], types.int64)


@infer_global(operator.setitem)
class _SetItem(AbstractTemplate):
    def generic(self, args, kws):
        if isinstance(args[0], Memory) and isinstance(args[1], types.Integer):
            return signature(types.none, args[0], types.int64, args[0].dtype)


@lower_builtin(operator.getitem, Memory, types.int64)
def _getitem(context, builder, sig, args):
    return builder.load(builder.gep(args[0], [args[1]]))


@lower_builtin(operator.setitem, Memory, types.int64, types.Any)
def _setitem(context, builder, sig, args):
    builder.store(args[2], builder.gep(args[0], [args[1]]))
    return context.get_dummy_value()


def _stored(carrier):
    """The vector as it lies in memory."""
    if carrier == types.int16 and HALF_IN_HARDWARE:
        return ir.VectorType(ir.HalfType(), LANES)
    return vector_of(OF[carrier]) if carrier in (types.float32, types.float64) else integers(16)


def _widened(builder, carrier, v):
    single, words = vector_of(F32), integers(32)
    if carrier in (types.float32, types.float64):
        return v
    if carrier == types.uint16:
        return builder.bitcast(builder.shl(builder.zext(v, words), constant(words, 16)), single)
    if HALF_IN_HARDWARE:
        return builder.fpext(v, single)
    # times 2**112 corrects the exponent, of subnormals too; inf and NaN keep a full exponent
    bits = builder.zext(v, words)
    rest = builder.shl(builder.and_(bits, constant(words, 0x7FFF)), constant(words, 13))
    scaled = builder.bitcast(builder.fmul(builder.bitcast(rest, single), constant(single, 2.0**112)), words)
    special = builder.or_(rest, constant(words, 0x7F800000))
    rest = builder.select(builder.icmp_unsigned(">=", rest, constant(words, 0x0F800000)), special, scaled)
    sign = builder.shl(builder.and_(bits, constant(words, 0x8000)), constant(words, 16))
    return builder.bitcast(builder.or_(rest, sign), single)


def _narrowed(builder, carrier, v):
    words = integers(32)
    if carrier in (types.float32, types.float64):
        return v
    if carrier == types.int16 and HALF_IN_HARDWARE:
        return builder.fptrunc(v, _stored(carrier))
    bits, is_nan = builder.bitcast(v, words), builder.fcmp_unordered("uno", v, v)

    def number(x):
        return constant(words, x)

    def last_bit(shift):
        return builder.and_(builder.lshr(bits, number(shift)), number(1))

    if carrier == types.uint16:  # nearest, ties to even, by an addend below the cut
        high = builder.lshr(bits, number(16))
        rounded = builder.lshr(builder.add(builder.add(bits, number(0x7FFF)), last_bit(16)), number(16))
        return builder.trunc(builder.select(is_nan, builder.or_(high, number(0x40)), rounded), integers(16))
    size = builder.and_(bits, number(0x7FFFFFFF))
    normal = builder.add(builder.add(size, number(0xFFF - (112 << 23))), last_bit(13))
    normal = builder.lshr(normal, number(13))
    # 0.5 has the unit of a float16 subnormal, 2**-24: adding it rounds there
    sum_ = builder.fadd(builder.bitcast(size, v.type), constant(v.type, 0.5))
    below = builder.sub(builder.bitcast(sum_, words), number(0x3F000000))
    half = builder.select(builder.icmp_unsigned("<", size, number(0x38800000)), below, normal)
    half = builder.select(builder.icmp_unsigned(">=", size, number(0x477FF000)), number(0x7C00), half)
    half = builder.select(is_nan, number(0x7E00), half)
    sign = builder.and_(builder.lshr(bits, number(16)), number(0x8000))
    return builder.trunc(builder.or_(half, sign), integers(16))


@intrinsic
def load(typingctx, array, k):
    """array[k:k + LANES]."""
    lanes = OF[array.dtype]

    def codegen(context, builder, signature, args):
        stored = _stored(array.dtype)
        at = builder.bitcast(builder.gep(args[0], [args[1]]), stored.as_pointer())
        return _widened(builder, array.dtype, builder.load(at, align=array.dtype.bitwidth // 8))

    return lanes(array, types.int64), codegen


@intrinsic
def load_some(typingctx, array, k, n, fill):
    """array[k:k + n] and lanes of `fill` after it; n may be beyond LANES."""
    lanes = OF[array.dtype]

    def codegen(context, builder, signature, args):
        stored, mask = _stored(array.dtype), mask_of(builder, args[2])
        at = builder.bitcast(builder.gep(args[0], [args[1]]), stored.as_pointer())
        name = f"llvm.masked.load.{mangled(stored)}.p0"
        found = call_intrinsic(builder, name, stored, [at, ir.IntType(32)(array.dtype.bitwidth // 8), mask,
                                                   ir.Constant(stored, None)])
        beyond = splat(builder, context.cast(builder, args[3], fill, lanes.real))
        return builder.select(mask, _widened(builder, array.dtype, found), beyond)

    return lanes(array, types.int64, types.int64, fill), codegen


@intrinsic
def store(typingctx, array, k, v):
    """array[k:k + LANES] = v, rounded to nearest even."""

    def codegen(context, builder, signature, args):
        stored = _stored(array.dtype)
        at = builder.bitcast(builder.gep(args[0], [args[1]]), stored.as_pointer())
        builder.store(_narrowed(builder, array.dtype, args[2]), at, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.int64, v), codegen


@intrinsic
def stream(typingctx, array, k, v):
    """The same past the caches; array[k] must be aligned to the vector."""

    def codegen(context, builder, signature, args):
        stored = _stored(array.dtype)
        at = builder.bitcast(builder.gep(args[0], [args[1]]), stored.as_pointer())
        done = builder.store(_narrowed(builder, array.dtype, args[2]), at, align=LANES * array.dtype.bitwidth // 8)
        done.set_metadata("nontemporal", builder.module.add_metadata([ir.IntType(32)(1)]))
        return context.get_dummy_value()

    return types.void(array, types.int64, v), codegen


@intrinsic
def store_some(typingctx, array, k, n, v):
    """array[k:k + n] = v[:n], n <= LANES."""

    def codegen(context, builder, signature, args):
        stored = _stored(array.dtype)
        at = builder.bitcast(builder.gep(args[0], [args[1]]), stored.as_pointer())
        name = f"llvm.masked.store.{mangled(stored)}.p0"
        call_intrinsic(builder, name, ir.VoidType(), [_narrowed(builder, array.dtype, args[3]), at,
                                                  ir.IntType(32)(array.dtype.bitwidth // 8), mask_of(builder, args[2])])
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64, v), codegen


@intrinsic
def head(typingctx, array, k):
    """How many elements from array[k] on until one is aligned to the vector."""
    itemsize = array.dtype.bitwidth // 8

    def codegen(context, builder, signature, args):
        at = builder.ptrtoint(builder.gep(args[0], [args[1]]), I64)
        rest = builder.and_(builder.neg(at), I64(LANES * itemsize - 1))
        return builder.udiv(rest, I64(itemsize))

    return types.int64(array, types.int64), codegen


@intrinsic
def prefetch(typingctx, array, k):
    """Ask for array[k]'s cache line in L2; it need not exist."""

    def codegen(context, builder, signature, args):
        at = builder.bitcast(builder.gep(args[0], [args[1]]), ir.IntType(8).as_pointer())
        call_intrinsic(builder, "llvm.prefetch.p0", ir.VoidType(), [at, *(ir.IntType(32)(i) for i in (0, 2, 1))])
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


@intrinsic
def fence(typingctx):
    """What was streamed becomes visible before whatever follows."""

    def codegen(context, builder, signature, args):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen
