"""[1] Memory for Numba without owners: addresses, whose elements are loaded and stored one, a vector or two at a time.

A carrier's type tells its meaning: float64, float32, uint16 = bfloat16, int16 = float16.
"""

import operator

from llvmlite import ir
from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model
from numba.np.arrayobj import populate_array

from ._numba_vec import (
    BYTES,
    CPU,
    F32,
    F64,
    FEATURES,
    HAS_TABLES,
    I64,
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


WORDS, SINGLE = integers(32, F32.count), vector_of(F32)


def _stored(carrier):
    """The vector as it lies in memory."""
    if carrier == types.int16 and HALF_IN_HARDWARE:
        return ir.VectorType(ir.HalfType(), F32.count)
    return vector_of(OF[carrier]) if carrier in (types.float32, types.float64) else integers(16, F32.count)


def _number(x):
    return constant(WORDS, x)


def _widened(builder, carrier, v):
    if carrier in (types.float32, types.float64):
        return v
    if carrier == types.uint16:
        return builder.bitcast(builder.shl(builder.zext(v, WORDS), _number(16)), SINGLE)
    if HALF_IN_HARDWARE:
        return builder.fpext(v, SINGLE)
    # times 2**112 corrects the exponent, of subnormals too; inf and NaN keep a full exponent
    bits = builder.zext(v, WORDS)
    rest = builder.shl(builder.and_(bits, _number(0x7FFF)), _number(13))
    scaled = builder.bitcast(builder.fmul(builder.bitcast(rest, SINGLE), constant(SINGLE, 2.0**112)), WORDS)
    special = builder.or_(rest, _number(0x7F800000))
    rest = builder.select(builder.icmp_unsigned(">=", rest, _number(0x0F800000)), special, scaled)
    sign = builder.shl(builder.and_(bits, _number(0x8000)), _number(16))
    return builder.bitcast(builder.or_(rest, sign), SINGLE)


def _last_bit(builder, bits, shift):
    return builder.and_(builder.lshr(bits, _number(shift)), _number(1))


def _rounded(builder, v):
    """The upper half of each lane to nearest, ties to even, by an addend below the cut; the lower half is anything.
    A NaN of computed values is safe from it: its lower half is 0."""
    bits = builder.bitcast(v, WORDS)
    return builder.add(builder.add(bits, _number(0x7FFF)), _last_bit(builder, bits, 16))


def _narrowed(builder, carrier, v):
    if carrier in (types.float32, types.float64):
        return v
    if carrier == types.int16 and HALF_IN_HARDWARE:
        return builder.fptrunc(v, _stored(carrier))
    if carrier == types.uint16:
        return builder.trunc(builder.lshr(_rounded(builder, v), _number(16)), _stored(carrier))
    bits, is_nan = builder.bitcast(v, WORDS), builder.fcmp_unordered("uno", v, v)
    size = builder.and_(bits, _number(0x7FFFFFFF))
    normal = builder.add(builder.add(size, _number(0xFFF - (112 << 23))), _last_bit(builder, bits, 13))
    normal = builder.lshr(normal, _number(13))
    # 0.5 has the unit of a float16 subnormal, 2**-24: adding it rounds there
    sum_ = builder.fadd(builder.bitcast(size, v.type), constant(v.type, 0.5))
    below = builder.sub(builder.bitcast(sum_, WORDS), _number(0x3F000000))
    half = builder.select(builder.icmp_unsigned("<", size, _number(0x38800000)), below, normal)
    half = builder.select(builder.icmp_unsigned(">=", size, _number(0x477FF000)), _number(0x7C00), half)
    half = builder.select(is_nan, _number(0x7E00), half)
    sign = builder.and_(builder.lshr(bits, _number(16)), _number(0x8000))
    return builder.trunc(builder.or_(half, sign), _stored(carrier))


def _held(builder, v):
    """v in a register, whatever is done to it. LLVM 22 folds a masked load into an operation under the same mask, and may
    take it out of there as a load without one, which reads beyond the end of an array."""
    if not HAS_TABLES:  # no masks
        return v
    held = integers(32, F32.count if v.type in (SINGLE, vector_of(F64)) else F32.count // 2)
    one = builder.asm(ir.FunctionType(held, [held]), "", "=v,0", [builder.bitcast(v, held)], False)
    return builder.bitcast(one, v.type)


def _address(builder, memory, k, kind):
    return builder.bitcast(builder.gep(memory, [k]), kind.as_pointer())


# Two vectors at once. Of bfloat16, even and odd numbers apart: a shift and a mask instead of shuffles, which compete
# with multiplication for its ports.


@intrinsic
def load_pair(typingctx, array, k):
    """array[k:k + 2*width] as two vectors; which number is in which lane is left to what costs least."""
    lanes = OF[array.dtype]

    def codegen(context, builder, signature, args):
        stored, align = _stored(array.dtype), array.dtype.bitwidth // 8
        if array.dtype == types.uint16:
            both = builder.load(_address(builder, *args, WORDS), align=align)
            upper = builder.and_(both, _number(0xFFFF0000))
            pair = [builder.bitcast(v, SINGLE) for v in (builder.shl(both, _number(16)), upper)]
        else:
            at = [args[1], builder.add(args[1], I64(lanes.count))]
            pair = [builder.load(_address(builder, args[0], k, stored), align=align) for k in at]
            pair = [_widened(builder, array.dtype, v) for v in pair]
        return context.make_tuple(builder, signature.return_type, pair)

    return types.UniTuple(lanes, 2)(array, types.int64), codegen


def _put(context, builder, value, at, carrier, streams):
    align = context.get_abi_sizeof(value.type) if streams else carrier.bitwidth // 8
    done = builder.store(value, at, align=align)
    if streams:
        done.set_metadata("nontemporal", builder.module.add_metadata([ir.IntType(32)(1)]))


def _put_pair(array, v, streams):
    def codegen(context, builder, signature, args):
        memory, k, *pair = args
        if array.dtype == types.uint16:
            low, high = (_rounded(builder, v) for v in pair)
            both = builder.or_(builder.lshr(low, _number(16)), builder.and_(high, _number(0xFFFF0000)))
            _put(context, builder, both, _address(builder, memory, k, WORDS), array.dtype, streams)
        else:
            stored = _stored(array.dtype)
            for at, value in zip((k, builder.add(k, I64(v.count))), pair, strict=True):
                value = _narrowed(builder, array.dtype, value)
                _put(context, builder, value, _address(builder, memory, at, stored), array.dtype, streams)
        return context.get_dummy_value()

    return types.void(array, types.int64, v, v), codegen


@intrinsic
def store_pair(typingctx, array, k, v, w):
    """array[k:k + 2*width] = the pair v, w, rounded to nearest even."""
    return _put_pair(array, v, False)


@intrinsic
def stream_pair(typingctx, array, k, v, w):
    """The same past the caches; array[k] must be the first of a cache line."""
    return _put_pair(array, v, True)


@intrinsic
def mixed_place(typingctx, array, j, lane):
    """Which number after array[k] lane `lane` of vector j of load_pair(array, k) holds."""

    def codegen(context, builder, signature, args):
        _, j, lane = args
        if array.dtype == types.uint16:
            return builder.add(builder.shl(lane, I64(1)), j)
        return builder.add(builder.mul(j, I64(OF[array.dtype].count)), lane)

    return types.int64(array, types.int64, types.int64), codegen


# One vector, its lanes in the order of memory.


@intrinsic
def load_whole(typingctx, array, k):
    """array[k:k + width] as a vector."""
    lanes = OF[array.dtype]

    def codegen(context, builder, signature, args):
        stored = _stored(array.dtype)
        found = builder.load(_address(builder, *args, stored), align=array.dtype.bitwidth // 8)
        return _widened(builder, array.dtype, found)

    return lanes(array, types.int64), codegen


def _put_whole(array, v, streams):
    def codegen(context, builder, signature, args):
        value, stored = _narrowed(builder, array.dtype, args[2]), _stored(array.dtype)
        _put(context, builder, value, _address(builder, *args[:2], stored), array.dtype, streams)
        return context.get_dummy_value()

    return types.void(array, types.int64, v), codegen


@intrinsic
def store_whole(typingctx, array, k, v):
    """array[k:k + width] = v, rounded to nearest even."""
    return _put_whole(array, v, False)


@intrinsic
def stream_whole(typingctx, array, k, v):
    """The same past the caches; array[k] must be aligned as a vector is."""
    return _put_whole(array, v, True)


@intrinsic
def load_some(typingctx, array, k, n, fill):
    """array[k:k + n] and lanes of `fill` after it; n may be beyond the vector."""
    lanes = OF[array.dtype]

    def codegen(context, builder, signature, args):
        stored, mask = _stored(array.dtype), mask_of(builder, args[2], lanes.count)
        name, align = f"llvm.masked.load.{mangled(stored)}.p0", ir.IntType(32)(array.dtype.bitwidth // 8)
        found = call_intrinsic(builder, name, stored, [_address(builder, *args[:2], stored), align, mask,
                                                   ir.Constant(stored, None)])
        beyond = splat(builder, context.cast(builder, args[3], fill, lanes.real), lanes.count)
        return builder.select(mask, _widened(builder, array.dtype, _held(builder, found)), beyond)

    return lanes(array, types.int64, types.int64, fill), codegen


@intrinsic
def store_some(typingctx, array, k, n, v):
    """array[k:k + n] = v[:n]; n may be beyond the vector."""

    def codegen(context, builder, signature, args):
        stored, mask = _stored(array.dtype), mask_of(builder, args[2], v.count)
        name, align = f"llvm.masked.store.{mangled(stored)}.p0", ir.IntType(32)(array.dtype.bitwidth // 8)
        call_intrinsic(builder, name, ir.VoidType(), [_narrowed(builder, array.dtype, args[3]),
                                                  _address(builder, *args[:2], stored), align, mask])
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64, v), codegen


@intrinsic
def head(typingctx, array, k):
    """How many elements from array[k] on until one is the first of a cache line."""

    def codegen(context, builder, signature, args):
        at = builder.ptrtoint(builder.gep(args[0], [args[1]]), I64)
        return builder.udiv(builder.and_(builder.neg(at), I64(BYTES - 1)), I64(array.dtype.bitwidth // 8))

    return types.int64(array, types.int64), codegen


CACHE = 3 if CPU == "znver5" else 2  # where to: L1 or, in LLVM's numbers, L2, as in the Cython backend's caches.h


def _prefetched(offset, vectors=2):
    """Code that asks for the vectors which lie `offset` bytes behind array[k]; they need not exist."""

    def typed(typingctx, array, k):
        def codegen(context, builder, signature, args):
            for line in range(0, vectors * OF[array.dtype].count * array.dtype.bitwidth // 8, BYTES):
                at = builder.gep(_address(builder, *args, ir.IntType(8)), [I64(offset + line)])
                how = [ir.IntType(32)(i) for i in (0, CACHE, 1)]
                call_intrinsic(builder, "llvm.prefetch.p0", ir.VoidType(), [at, *how])
            return context.get_dummy_value()

        return types.void(array, types.int64), codegen

    return typed


prefetch_pair = intrinsic(_prefetched(0))
AHEAD_BYTES = 8192  # as in the Cython backend's lanes.h
prefetch_ahead = intrinsic(_prefetched(AHEAD_BYTES))
prefetch_one_ahead = intrinsic(_prefetched(AHEAD_BYTES, 1))


@intrinsic
def fence(typingctx):
    """What was streamed becomes visible before whatever follows."""

    def codegen(context, builder, signature, args):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen
