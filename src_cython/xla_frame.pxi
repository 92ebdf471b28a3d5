# What a handler does with a frame, whatever it computes.

cdef const char *OTHER_XLA = "fastsoftmax was built for another version of XLA's FFI"
cdef const char *OTHER_DOOR = "not a call of this version of fastsoftmax.jax"


cdef bint is_question(const XlaFrame *frame) noexcept nogil:
    """XLA asks what the handler was made for, before its first call."""
    return frame.extension != NULL and frame.extension.type == XLA_METADATA


cdef bint is_readable(const XlaFrame *frame) noexcept nogil:
    return frame.struct_size >= sizeof(XlaFrame) and frame.api.version.major == XLA_MAJOR


cdef XlaError *fail(const XlaApi *api, int code, const char *message) noexcept nogil:
    cdef XlaErrorArguments arguments
    arguments.struct_size = sizeof(XlaErrorArguments)
    arguments.extension = NULL
    arguments.message, arguments.code = message, code
    return api.make_error(&arguments)


cdef XlaError *describe(XlaFrame *frame) noexcept nogil:
    """The version that this was made for, or the runtime's where that is older: those of 0.1 do not say theirs here."""
    cdef XlaMetadata *metadata = (<XlaMetadataExtension *>frame.extension).metadata
    cdef int minor = min(<int>XLA_MINOR, frame.api.version.minor) if frame.api != NULL else 1
    metadata.version.struct_size, metadata.version.extension = sizeof(XlaVersion), NULL
    metadata.version.major, metadata.version.minor = XLA_MAJOR, minor
    metadata.traits = 0
    if minor >= 2:
        metadata.state_type = 0
    return NULL
